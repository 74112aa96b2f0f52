import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { installPackages } from "../servers.ts";
import { buildBinaries } from "./binaries.ts";
import { createCertificates } from "./certificates.ts";
import { type CommandOptions, runCommand, runCommandInBackground, waitFor } from "./commands.ts";
import { type ControlPlaneOptions, startApiServer, startControllers } from "./control-plane.ts";
import {
  PAUSE_IMAGE,
  STATE_FOLDER,
  startContainerd,
  startKubelet,
  startNetworkPolicies,
  stopNode,
} from "./node.ts";
import { createNodeNetwork, deleteNodeNetwork, INSIDE } from "./node-network.ts";
import { Processes } from "./processes.ts";

/** Packages of Debian, each with a file that proves that it is installed. */
const PACKAGES = {
  containerd: "/usr/bin/containerd",
  runc: "/usr/sbin/runc",
  "containernetworking-plugins": "/usr/lib/cni/ptp",
  iproute2: "/usr/sbin/ip",
  nftables: "/usr/sbin/nft",
  iptables: "/usr/sbin/iptables",
  conntrack: "/usr/sbin/conntrack",
  ipset: "/usr/sbin/ipset",
  openssl: "/usr/bin/openssl",
} as const;
const READY_TIMEOUT_MS = 120_000;
const ADD_ONS_TIMEOUT_MS = 180_000;

export interface ClusterOptions {
  /** Only etcd and the API server: enough to validate manifests. */
  readonly onlyApi?: boolean;
  /** Puts the images PAUSE_IMAGE and localhost/coredns:1, and others, into containerd. */
  readonly loadImages?: (binary: (name: string) => string) => void | Promise<void>;
  readonly print: (line: string) => void;
}

/** A Kubernetes of one node, in a network namespace of its own, on this machine. */
export interface Cluster {
  /** The path of a binary of Kubernetes. */
  readonly binary: (name: string) => string;
  /** kubectl for the cluster. */
  kubectl(args: readonly string[], options?: CommandOptions): string;
  /** The same without blocking this process. */
  kubectlInBackground(args: readonly string[], options?: CommandOptions): Promise<string>;
  /** Stops everything and removes its files, mounts and network from the machine. Idempotent. */
  stop(): Promise<void>;
}

/** Folder of the cluster's data and logs. */
export const clusterFolder = join(
  process.env.LUCKY_CLUSTER_CACHE || join(homedir(), ".cache/lucky/cluster"),
  "run",
);

const processesFolder = join(clusterFolder, "processes");

/**
 * Removes the remains of an earlier cluster, then starts a new one: etcd, API server, controllers,
 * containerd, kubelet, kube-proxy, network policies, DNS, metrics. Needs root on Debian, and Go for
 * the first time. Stops everything before it rejects.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { onlyApi = false, loadImages, print } = options;
  if (process.getuid?.() !== 0) throw new Error("The cluster needs root.");
  const missing = Object.entries(PACKAGES).filter(([, program]) => !existsSync(program));
  installPackages(
    missing.map(([name]) => name),
    "The cluster runs on Debian only.",
  );
  const binary = onlyApi
    ? buildBinaries("etcd", "kube-apiserver", "kubectl", "gateway-api.yaml")
    : buildBinaries();
  const processes = new Processes(processesFolder);
  await removeCluster(processes);

  const begin = performance.now();
  const step = (what: string) =>
    print(`${what} (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
  const certificatesFolder = join(clusterFolder, "certificates");
  mkdirSync(certificatesFolder, { recursive: true, mode: 0o700 });
  try {
    createNodeNetwork();
    const certificates = createCertificates(certificatesFolder);
    const parts = { processes, certificates, binary, folder: clusterFolder };
    const command = (args: readonly string[]) => [
      ...INSIDE,
      binary("kubectl"),
      `--kubeconfig=${certificates.adminConfig}`,
      ...args,
    ];
    const cluster: Cluster = {
      binary,
      kubectl: (args, commandOptions) => runCommand(command(args), commandOptions),
      kubectlInBackground: (args, commandOptions) =>
        runCommandInBackground(command(args), commandOptions),
      stop: () => removeCluster(processes),
    };
    startApiServer(parts);
    const ready = () => cluster.kubectl(["get", "--raw=/readyz"]) === "ok";
    await waitFor("the API server is ready", ready, READY_TIMEOUT_MS).catch((error: Error) => {
      throw new Error(`${error.message}\n${processes.lastLines("kube-apiserver")}`);
    });
    step("the API server is ready");
    if (!onlyApi) await startNode(cluster, { ...parts, loadImages, step });
    return cluster;
  } catch (error) {
    await removeCluster(processes).catch(() => {});
    throw error;
  }
}

/** Stops a cluster that another process has started, such as a killed one. Idempotent. */
export function stopCluster(): Promise<void> {
  return removeCluster(new Processes(processesFolder));
}

async function startNode(
  cluster: Cluster,
  parts: ControlPlaneOptions & {
    readonly loadImages: ClusterOptions["loadImages"];
    readonly step: (what: string) => void;
  },
): Promise<void> {
  const { processes, binary, certificates, loadImages, step } = parts;
  startControllers(parts);
  await startContainerd(parts);
  await loadImages?.(binary);
  step(`the images are loaded, ${PAUSE_IMAGE} among them`);
  startKubelet(parts);
  const isReady = () => / Ready /.test(cluster.kubectl(["get", "node", "node0", "--no-headers"]));
  await waitFor("the node is ready", isReady, READY_TIMEOUT_MS).catch((error: Error) => {
    throw new Error(`${error.message}\n${processes.lastLines("kubelet")}`);
  });
  step("the node is ready");
  startNetworkPolicies(parts);
  for (const file of ["coredns.yaml", "metrics-server.yaml"])
    cluster.kubectl(["apply", "--filename=-"], {
      input: readFileSync(join(import.meta.dirname, file), "utf8"),
    });
  const { adminConfig, file } = certificates;
  processes.start("metrics-server", [
    binary("metrics-server"),
    `--kubeconfig=${adminConfig}`,
    `--authentication-kubeconfig=${adminConfig}`,
    `--authorization-kubeconfig=${adminConfig}`,
    `--tls-cert-file=${file("node.crt")}`,
    `--tls-private-key-file=${file("node.key")}`,
    "--secure-port=4443",
    "--kubelet-insecure-tls",
    "--kubelet-preferred-address-types=InternalIP",
    "--metric-resolution=10s",
    // Below the resolution, or it does not start.
    "--kubelet-request-timeout=5s",
  ]);
  const dns = ["rollout", "status", "deployment/coredns", "--namespace=kube-system"];
  await cluster.kubectlInBackground([...dns, `--timeout=${ADD_ONS_TIMEOUT_MS / 1_000}s`], {
    timeoutMs: ADD_ONS_TIMEOUT_MS + 10_000,
  });
  const metrics = ["wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io"];
  await cluster
    .kubectlInBackground([...metrics, `--timeout=${ADD_ONS_TIMEOUT_MS / 1_000}s`], {
      timeoutMs: ADD_ONS_TIMEOUT_MS + 10_000,
    })
    .catch((error: Error) => {
      throw new Error(`${error.message}\n${processes.lastLines("metrics-server")}`);
    });
  step("names and metrics work");
}

/** Ends the processes of a cluster, and deletes its mounts, its network and its data. Idempotent. */
async function removeCluster(processes: Processes): Promise<void> {
  await stopNode({ processes });
  await processes.stop();
  for (const mount of mountsBelow(clusterFolder, STATE_FOLDER))
    runCommand(["umount", "--lazy", mount]);
  deleteNodeNetwork();
  removeControlGroups();
  rmSync(STATE_FOLDER, { recursive: true, force: true });
  for (const part of [
    "etcd",
    "certificates",
    "containerd",
    "cni",
    "cni-addresses",
    "kubelet",
    "overlay",
    "volumes",
  ])
    rmSync(join(clusterFolder, part), { recursive: true, force: true });
}

/** Removes the control groups of pods. Those with processes, of another cluster, stay. */
function removeControlGroups(): void {
  const groups = ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/kubepods*"];
  for (const group of runCommand(["find", ...groups])
    .split("\n")
    .filter(Boolean)) {
    try {
      rmdirSync(group);
    } catch {
      // It has processes.
    }
  }
}

/** Mount points below some folders, the deepest first. */
function mountsBelow(...folders: readonly string[]): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const points = mounts.flatMap((line) => line.split(" ")[4] ?? []);
  return points
    .filter((point) => folders.some((folder) => point.startsWith(`${folder}/`)))
    .reverse();
}
