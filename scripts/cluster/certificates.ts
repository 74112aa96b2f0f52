import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "./commands.ts";
import { API_SERVICE_ADDRESS, NODE_ADDRESS } from "./node-network.ts";

const DAYS = "30";
const RSA = ["-newkey", "rsa:2048", "-nodes"] as const;

/** Files of the cluster's certificates and keys, all in one folder. */
export interface Certificates {
  readonly folder: string;
  /** The path of one of them, such as "admin.crt". */
  file(name: string): string;
  /** kubeconfig of the administrator. */
  readonly adminConfig: string;
  /** kubeconfig of the kubelet. */
  readonly nodeConfig: string;
}

/** Creates an authority, and the certificates of the API server, the administrator and the node. */
export function createCertificates(folder: string): Certificates {
  const file = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => runCommand(["openssl", ...args]);
  const authority = ["-days", DAYS, "-keyout", file("ca.key"), "-out", file("ca.crt")];
  openssl("req", "-x509", ...RSA, ...authority, "-subj", "/CN=lucky-cluster");

  function issue(name: string, subject: string, names: readonly string[]): void {
    openssl(
      "req",
      ...RSA,
      "-keyout",
      file(`${name}.key`),
      "-out",
      file(`${name}.csr`),
      "-subj",
      subject,
    );
    const extensions = `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth,clientAuth`;
    writeFileSync(file(`${name}.ext`), extensions);
    const by = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-CAcreateserial", "-days", DAYS];
    const paths = [
      "-in",
      file(`${name}.csr`),
      "-out",
      file(`${name}.crt`),
      "-extfile",
      file(`${name}.ext`),
    ];
    openssl("x509", "-req", ...paths, ...by);
  }
  const addresses = ["127.0.0.1", API_SERVICE_ADDRESS, NODE_ADDRESS].map((one) => `IP:${one}`);
  issue("apiserver", "/CN=kube-apiserver", [
    "DNS:kubernetes",
    "DNS:kubernetes.default.svc",
    ...addresses,
  ]);
  issue("admin", "/O=system:masters/CN=admin", ["DNS:admin"]);
  issue("node", "/O=system:nodes/CN=system:node:node0", ["DNS:node0", ...addresses]);
  openssl("genrsa", "-out", file("sa.key"), "2048");
  openssl("rsa", "-in", file("sa.key"), "-pubout", "-out", file("sa.pub"));

  function config(user: string): string {
    const path = file(`${user}.conf`);
    const named = (kind: string, value: object) => [{ name: "lucky", [kind]: value }];
    writeFileSync(
      path,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: named("cluster", {
          server: "https://127.0.0.1:6443",
          "certificate-authority": file("ca.crt"),
        }),
        users: named("user", {
          "client-certificate": file(`${user}.crt`),
          "client-key": file(`${user}.key`),
        }),
        contexts: named("context", { cluster: "lucky", user: "lucky" }),
        "current-context": "lucky",
      }),
      { mode: 0o600 },
    );
    return path;
  }
  return { folder, file, adminConfig: config("admin"), nodeConfig: config("node") };
}
