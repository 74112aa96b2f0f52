import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What a counter has to grow by. */
export class Tally {
  readonly #grow: (by: number) => void;
  #waiting = 0;

  constructor(grow: (by: number) => void) {
    this.#grow = grow;
  }

  add(by = 1): void {
    this.#waiting += by;
  }

  /** Tells the counter. */
  tell(): void {
    if (this.#waiting > 0) this.#grow(this.#waiting);
    this.#waiting = 0;
  }
}

/**
 * The metrics of one process, with their own registry, so that two systems fit into one process.
 * A metric is made at its first mention and shared by all who name it. Names start with "lucky_".
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #tallies: Tally[] = [];
  #process = false;

  /** Something that only grows. */
  counter<L extends string = string>(
    name: string,
    help: string,
    labels: readonly L[] = [],
  ): Counter<L> {
    const known = this.#known(name, Counter);
    if (known !== undefined) return known as Counter<L>;
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  /**
   * A counter without labels, or one child of it, for where every message counts: it costs an addition
   * until somebody reads the metrics, instead of the 0.2 µs and the garbage of `inc`.
   */
  tally<L extends string = string>(counter: Counter<L>, labels?: Record<L, string>): Tally {
    const tally = new Tally((by) =>
      labels === undefined ? counter.inc(by) : counter.inc(labels, by),
    );
    this.#tallies.push(tally);
    return tally;
  }

  /** Something that goes up and down. */
  gauge<L extends string = string>(
    name: string,
    help: string,
    labels: readonly L[] = [],
  ): Gauge<L> {
    const known = this.#known(name, Gauge);
    if (known !== undefined) return known as Gauge<L>;
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  /** A distribution; `buckets` are upper bounds in ascending order, in the unit of the name. */
  histogram<L extends string = string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: readonly L[] = [],
  ): Histogram<L> {
    const known = this.#known(name, Histogram);
    if (known !== undefined) return known as Histogram<L>;
    return new Histogram({
      name,
      help,
      buckets: [...buckets],
      labelNames: labels,
      registers: [this.#registry],
    });
  }

  /** Adds what Node.js says of its process (memory, event loop, collector). Idempotent. */
  observeProcess(): void {
    if (this.#process) return;
    this.#process = true;
    collectDefaultMetrics({ register: this.#registry });
  }

  /** Everything in the text format of Prometheus. */
  text(): Promise<string> {
    for (const tally of this.#tallies) tally.tell();
    return this.#registry.metrics();
  }

  /** The media type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  #known(name: string, kind: new (...args: never[]) => unknown): unknown {
    if (!name.startsWith("lucky_")) throw new Error(`metric ${name} must start with lucky_`);
    const metric = this.#registry.getSingleMetric(name);
    if (metric !== undefined && !(metric instanceof kind)) {
      throw new Error(`metric ${name} exists already as another kind`);
    }
    return metric;
  }
}
