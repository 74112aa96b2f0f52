import assert from "node:assert/strict";
import { copyFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { systemClock } from "#platform/clock.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { testAuthority } from "../../test/tls/certificates.ts";
import type { CertificateFiles } from "./certificate-pair.ts";
import { openCertificate } from "./served-certificate.ts";

const DAY_MS = 86_400_000;
const authority = await testAuthority({ after });
const [first, second] = [await authority.issue("a.example"), await authority.issue("b.example")];
const folder = dirname(first.certFile);
let count = 0;

/** A pair of files of a test, with the contents of the first certificate. */
async function ownFiles(): Promise<CertificateFiles> {
  count += 1;
  const files = {
    certFile: join(folder, `own-${count}.pem`),
    keyFile: join(folder, `own-${count}.key`),
  };
  await copyFile(first.certFile, files.certFile);
  await copyFile(first.keyFile, files.keyFile);
  return files;
}

async function open(t: TestContext, files: CertificateFiles) {
  const clock = new ManualClock(Date.now());
  const metrics = new Metrics();
  const { log, lines } = keptLog();
  const certificate = await openCertificate({ files, clock, log, metrics });
  t.after(() => certificate.close());
  return { clock, metrics, lines, certificate };
}

const isRefused = async (metrics: Metrics) =>
  /^lucky_tls_certificate_refused 1$/m.test(await metrics.text());

test("a renewed pair is served, and a metric shows the end of its validity", async (t) => {
  const files = await ownFiles();
  const { certificate, metrics, lines } = await open(t, files);
  const before = certificate.current();
  let renewals = 0;
  certificate.onRenewed(() => {
    renewals += 1;
  });
  await certificate.refresh();
  assert.equal(renewals, 0, "unchanged files are no renewal");
  await copyFile(second.certFile, files.certFile);
  await copyFile(second.keyFile, files.keyFile);
  await certificate.refresh();
  assert.equal(renewals, 1);
  assert.notEqual(certificate.current().cert, before.cert);
  assert.ok(certificate.current().notAfterMs > Date.now());
  const shown = /^lucky_tls_certificate_not_after_timestamp_seconds (\d+)$/m.exec(
    await metrics.text(),
  );
  assert.equal(Number(shown?.[1]) * 1_000, certificate.current().notAfterMs);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["certificate_loaded", "certificate_renewed"],
  );
});

test("a half-written or mismatched pair is refused and logged once, and the last valid one stays", async (t) => {
  const files = await ownFiles();
  const { certificate, metrics, lines } = await open(t, files);
  const before = certificate.current();
  const faults: (() => Promise<void>)[] = [
    () => copyFile(second.certFile, files.certFile),
    () => writeFile(files.certFile, before.cert.slice(0, 400)),
    () => rm(files.certFile),
  ];
  for (const [at, breakFiles] of faults.entries()) {
    await breakFiles();
    await certificate.refresh();
    await certificate.refresh();
    assert.equal(certificate.current(), before);
    assert.equal(await isRefused(metrics), true);
    assert.equal(lines.filter(({ event }) => event === "certificate_refused").length, at + 1);
  }
  await copyFile(second.certFile, files.certFile);
  await copyFile(second.keyFile, files.keyFile);
  await certificate.refresh();
  assert.notEqual(certificate.current(), before);
  assert.equal(await isRefused(metrics), false);
});

test("a pair that has expired, or is not valid yet, is not served", async (t) => {
  const files = await ownFiles();
  const { certificate, metrics, clock } = await open(t, files);
  const before = certificate.current();
  await copyFile(second.certFile, files.certFile);
  await copyFile(second.keyFile, files.keyFile);
  clock.step(2 * DAY_MS);
  await certificate.refresh();
  assert.equal(certificate.current(), before);
  const options = { files, log: keptLog().log, metrics };
  await assert.rejects(openCertificate({ ...options, clock }), /expired on /);
  clock.step(-10 * DAY_MS);
  await assert.rejects(openCertificate({ ...options, clock }), /is not valid before /);
});

test("the folder is watched: a file that is replaced by a rename is read", async (t) => {
  const files = await ownFiles();
  const { log } = keptLog();
  const certificate = await openCertificate({
    files,
    clock: systemClock,
    log,
    metrics: new Metrics(),
  });
  t.after(() => certificate.close());
  const renewed = new Promise<void>((resolve) => certificate.onRenewed(resolve));
  await copyFile(second.keyFile, `${files.keyFile}.new`);
  await copyFile(second.certFile, `${files.certFile}.new`);
  await rename(`${files.keyFile}.new`, files.keyFile);
  await rename(`${files.certFile}.new`, files.certFile);
  // The timers of the watch are unreferenced; this one keeps the process alive.
  const alive = setInterval(() => {}, 1_000);
  await renewed;
  clearInterval(alive);
});

test("the files are polled, for file systems without events", async (t) => {
  const files = await ownFiles();
  const { certificate, clock } = await open(t, files);
  const renewed = new Promise<void>((resolve) => certificate.onRenewed(resolve));
  await copyFile(second.keyFile, files.keyFile);
  await copyFile(second.certFile, files.certFile);
  clock.advance(30_000);
  const alive = setInterval(() => {}, 1_000);
  await renewed;
  clearInterval(alive);
});
