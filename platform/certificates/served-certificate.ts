import type { Clock } from "#platform/clock.ts";
import { watchFiles } from "#platform/files/watched-files.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import {
  type CertificateFiles,
  type CertificatePair,
  readCertificatePair,
} from "./certificate-pair.ts";

/** The certificate of a listener. It follows its files. */
export interface ServedCertificate {
  /** The last valid pair. */
  current(): CertificatePair;
  /** Calls `listener` after each change of the pair. */
  onRenewed(listener: () => void): void;
  /** Reads the files now. Never rejects. */
  refresh(): Promise<void>;
  /** Stops following the files. Idempotent. */
  close(): void;
}

/**
 * Reads a certificate and its key, and follows their files. A changed pair that is not valid, such as
 * a half-written one, is refused: the last valid pair stays. Rejects with an error for operators when
 * the first pair is not valid.
 */
export async function openCertificate(options: {
  readonly files: CertificateFiles;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}): Promise<ServedCertificate> {
  const { files, clock, log, metrics } = options;
  const expiry = metrics.gauge(
    "lucky_tls_certificate_not_after_timestamp_seconds",
    "End of validity of the certificate for clients, seconds since the Unix epoch",
  );
  const refused = metrics.gauge(
    "lucky_tls_certificate_refused",
    "1 while the files of the certificate are not valid, and an earlier pair is served",
  );
  const listeners: (() => void)[] = [];
  let pair = await readCertificatePair(files, clock.now());
  /** Reason of the last refusal, which is logged once; undefined while the files are valid. */
  let fault: string | undefined;
  let reading = Promise.resolve();
  let closed = false;

  function announce(event: "certificate_loaded" | "certificate_renewed"): void {
    expiry.set(pair.notAfterMs / 1_000);
    log.info({ event, file: files.certFile, notAfter: new Date(pair.notAfterMs).toISOString() });
  }

  async function read(): Promise<void> {
    try {
      const found = await readCertificatePair(files, clock.now());
      if (closed) return;
      refused.set(0);
      fault = undefined;
      if (found.cert === pair.cert && found.key === pair.key) return;
      pair = found;
      for (const listener of listeners) listener();
      announce("certificate_renewed");
    } catch (error) {
      if (closed) return;
      refused.set(1);
      const { message } = error as Error;
      if (message !== fault) log.error({ event: "certificate_refused", err: error });
      fault = message;
    }
  }

  /** Reads are sequential: a change during a read needs another read after it. */
  function refresh(): Promise<void> {
    reading = reading.then(read);
    return reading;
  }

  announce("certificate_loaded");
  refused.set(0);
  const paths = [files.certFile, files.keyFile];
  const stop = watchFiles({ paths, clock, log, changed: () => void refresh() });
  return {
    current: () => pair,
    onRenewed: (listener) => void listeners.push(listener),
    refresh,
    close() {
      closed = true;
      stop();
    },
  };
}
