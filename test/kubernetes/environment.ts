import { basename, dirname } from "node:path";
import type { Container, Manifest, PodSpec } from "./manifests.ts";

/**
 * The environment that Kubernetes gives a container of an overlay: from its ConfigMaps, and from the fields of its pod.
 * A variable with `_FILE` that names a file of a mounted Secret counts as the variable with the content of the file. A
 * Secret that is not in the overlay has the values of `secrets`, by its keys. Throws for a file that is not mounted.
 */
export function environmentOf(
  container: Container,
  options: {
    readonly pod: PodSpec;
    readonly objects: readonly Manifest[];
    readonly secrets: (key: string) => string;
  },
): Record<string, string> {
  const { pod, objects, secrets } = options;
  const find = (kind: string, name: string) =>
    objects.find((one) => one.kind === kind && one.metadata.name === name);
  const result: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom ?? [])
    Object.assign(result, find("ConfigMap", configMapRef.name)?.data);
  for (const { name, value = "", valueFrom } of container.env ?? []) {
    if (valueFrom?.fieldRef) {
      result[name] = valueFrom.fieldRef.fieldPath === "status.podIP" ? "10.0.0.7" : "connect-0";
    } else if (name.endsWith("_FILE")) {
      const { secret, key } = secretFileOf(value, container, pod);
      const found = find("Secret", secret);
      const encoded = found?.data?.[key];
      if (found && encoded === undefined)
        throw new Error(`${name}: the Secret ${secret} has no ${key}`);
      result[name.replace(/_FILE$/, "")] =
        encoded === undefined ? secrets(key) : Buffer.from(encoded, "base64").toString();
    } else {
      result[name] = value;
    }
  }
  return result;
}

/** The Secret and the key that a container sees as a file. Throws when it does not see the file. */
export function secretFileOf(
  path: string,
  container: Container,
  pod: PodSpec,
): { secret: string; key: string } {
  const mount = container.volumeMounts?.find(({ mountPath }) => mountPath === dirname(path));
  const volume = pod.volumes?.find(({ name }) => name === mount?.name);
  const item = volume?.secret?.items.find((one) => one.path === basename(path));
  if (!volume?.secret || !item) throw new Error(`${container.name} has no file ${path}`);
  return { secret: volume.secret.secretName, key: item.key };
}
