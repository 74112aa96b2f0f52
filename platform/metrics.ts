import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type ObserveDataWithExemplar,
  Registry,
  type RegistryContentType,
} from "prom-client";

/** Pending increments of a counter. */
export class Tally {
  readonly #increment: (by: number) => void;
  #pending = 0;

  constructor(increment: (by: number) => void) {
    this.#increment = increment;
  }

  add(by = 1): void {
    this.#pending += by;
  }

  /** Adds the pending increments to the counter. */
  flush(): void {
    if (this.#pending > 0) this.#increment(this.#pending);
    this.#pending = 0;
  }
}

/** Observes a value of a histogram, and the labels of its trace when it is traced. */
export type TracedObserve<L extends string> = (
  labels: Record<L, string>,
  value: number,
  exemplarLabels?: Record<string, string>,
) => void;

export interface MetricsOptions {
  /**
   * Whether histograms keep exemplars, which only the format of OpenMetrics can show: `text` has that
   * format then.
   */
  readonly exemplars?: boolean;
}

type Kind = "counter" | "gauge" | "histogram";

/** The current values of a gauge, each with its labels. */
export type Samples<L extends string> = () => Iterable<
  readonly [labels: Record<L, string>, value: number]
>;

/** The properties that two registrations of one name must share. */
interface Definition {
  readonly kind: Kind;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets; empty for other kinds. */
  readonly buckets: readonly number[];
}

/**
 * The metrics of one process, with their own registry, so that two systems fit into one process.
 * Names start with "lucky_". The first registration of a name creates the metric; an equal
 * registration returns the same metric. A registration with another kind, help text, list of labels
 * or list of buckets throws: one name has one meaning.
 */
export class Metrics {
  readonly #registry = new Registry<RegistryContentType>();
  readonly #exemplars: boolean;
  readonly #definitions = new Map<string, Definition>();
  readonly #tallies: Tally[] = [];
  readonly #sampled = new Map<Gauge<string>, Samples<string>[]>();
  #process = false;

  constructor({ exemplars = false }: MetricsOptions = {}) {
    this.#exemplars = exemplars;
    if (exemplars) this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  }

  /** A value that only grows. */
  counter<L extends string = string>(
    name: string,
    help: string,
    labels: readonly L[] = [],
  ): Counter<L> {
    const known = this.#known({ kind: "counter", name, help, labels, buckets: [] });
    if (known !== undefined) return known as Counter<L>;
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  /**
   * A cheap increment for the hot path, of a counter without labels or of one child of a counter
   * with labels. It costs one addition until the metrics are read, instead of the 0.2 µs and the
   * garbage of `inc`.
   */
  tally<L extends string = string>(counter: Counter<L>, labels?: Record<L, string>): Tally {
    const tally = new Tally((by) =>
      labels === undefined ? counter.inc(by) : counter.inc(labels, by),
    );
    this.#tallies.push(tally);
    return tally;
  }

  /** A value that rises and falls. */
  gauge<L extends string = string>(
    name: string,
    help: string,
    labels: readonly L[] = [],
  ): Gauge<L> {
    const known = this.#known({ kind: "gauge", name, help, labels, buckets: [] });
    if (known !== undefined) return known as Gauge<L>;
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  /**
   * A value that is read with the metrics. Registrations of the same name add their values.
   * `samples` must not block.
   */
  sampled<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[],
    samples: Samples<L>,
  ): void {
    const gauge: Gauge<string> = this.gauge(name, help, labels);
    const known = this.#sampled.get(gauge);
    if (known) known.push(samples);
    else this.#sampled.set(gauge, [samples]);
  }

  /** A distribution; `buckets` are upper bounds in ascending order, in the unit of the name. */
  histogram<L extends string = string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: readonly L[] = [],
  ): Histogram<L> {
    const known = this.#known({ kind: "histogram", name, help, labels, buckets });
    if (known !== undefined) return known as Histogram<L>;
    return new Histogram({
      name,
      help,
      buckets: [...buckets],
      labelNames: labels,
      registers: [this.#registry],
    });
  }

  /** Like `histogram`, for values that may be traced, such as one per call or per batch. */
  tracedHistogram<L extends string = string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: readonly L[] = [],
  ): TracedObserve<L> {
    if (!this.#exemplars) {
      const plain = this.histogram(name, help, buckets, labels);
      return (values, value) => plain.observe(values, value);
    }
    const known = this.#known({ kind: "histogram", name, help, labels, buckets });
    const histogram =
      (known as Histogram<L> | undefined) ??
      new Histogram({
        name,
        help,
        buckets: [...buckets],
        labelNames: labels,
        registers: [this.#registry],
        enableExemplars: true,
      });
    return (values, value, exemplarLabels) =>
      // The library's types allow only the histogram's own labels; its code allows any labels.
      histogram.observe({ labels: values, value, exemplarLabels } as ObserveDataWithExemplar<L>);
  }

  /** Adds Node.js's own metrics of the process (memory, event loop, collector). Idempotent. */
  observeProcess(): void {
    if (this.#process) return;
    this.#process = true;
    collectDefaultMetrics({ register: this.#registry });
  }

  /** All metrics in the text format of Prometheus, or of OpenMetrics with exemplars. */
  text(): Promise<string> {
    for (const tally of this.#tallies) tally.flush();
    for (const [gauge, readers] of this.#sampled) {
      gauge.reset();
      for (const samples of readers)
        for (const [labels, value] of samples()) gauge.inc(labels, value);
    }
    return this.#registry.metrics();
  }

  /** The media type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The metric of an equal registration; undefined for a new name. Throws when they differ. */
  #known(definition: Definition): unknown {
    const { name } = definition;
    if (!name.startsWith("lucky_")) throw new Error(`metric ${name} must start with lucky_`);
    const first = this.#definitions.get(name);
    if (first === undefined) {
      this.#definitions.set(name, definition);
      return undefined;
    }
    const difference = differenceOf(first, definition);
    if (difference !== undefined) throw new Error(`metric ${name} exists already ${difference}`);
    return this.#registry.getSingleMetric(name);
  }
}

function differenceOf(first: Definition, second: Definition): string | undefined {
  if (first.kind !== second.kind) return "as another kind";
  if (first.help !== second.help) return "with another help text";
  if (first.labels.join() !== second.labels.join()) return "with other labels";
  if (first.buckets.join() !== second.buckets.join()) return "with other buckets";
  return undefined;
}
