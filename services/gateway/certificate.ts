import {
  openCertificate,
  type ServedCertificate,
} from "#platform/certificates/served-certificate.ts";
import type { Clock } from "#platform/clock.ts";
import { environmentName } from "#platform/config/config.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { type GatewayConfig, gatewayConfig } from "./config.ts";

/**
 * The certificate that the settings name; undefined when they name none. Rejects with an error for
 * operators when only one file is set, or when the files are not valid.
 */
export async function certificateOf(
  { tlsCertFile: certFile, tlsKeyFile: keyFile }: GatewayConfig,
  parts: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics },
): Promise<ServedCertificate | undefined> {
  if (certFile === "" && keyFile === "") return undefined;
  if (certFile === "" || keyFile === "") {
    const missing = certFile === "" ? "tlsCertFile" : "tlsKeyFile";
    throw new Error(`${environmentName(gatewayConfig.name, missing)} is missing.`);
  }
  return openCertificate({ files: { certFile, keyFile }, ...parts });
}
