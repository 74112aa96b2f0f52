import type { Container, Manifest } from "./manifests.ts";

/**
 * The environment that Kubernetes gives a container of an overlay: from its ConfigMaps and Secrets, and from the fields
 * of its pod. A Secret that is not in the overlay has the values of `secrets`, by its keys.
 */
export function environmentOf(
  container: Container,
  { objects, secrets }: { objects: readonly Manifest[]; secrets: (key: string) => string },
): Record<string, string> {
  const find = (kind: string, name: string) =>
    objects.find((one) => one.kind === kind && one.metadata.name === name);
  const result: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom ?? [])
    Object.assign(result, find("ConfigMap", configMapRef.name)?.data);
  for (const { name, value, valueFrom } of container.env ?? []) {
    const { secretKeyRef, fieldRef } = valueFrom ?? {};
    if (secretKeyRef) {
      const { name: secret, key } = secretKeyRef;
      const found = find("Secret", secret);
      const encoded = found?.data?.[key];
      if (found && encoded === undefined)
        throw new Error(`${name}: the Secret ${secret} has no ${key}`);
      result[name] =
        encoded === undefined ? secrets(key) : Buffer.from(encoded, "base64").toString();
    } else if (fieldRef) {
      result[name] = fieldRef.fieldPath === "status.podIP" ? "10.0.0.7" : "connect-0";
    } else {
      result[name] = value ?? "";
    }
  }
  return result;
}
