import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand, waitFor } from "./commands.ts";
import type { ControlPlaneOptions } from "./control-plane.ts";
import { DNS_ADDRESS, INSIDE, NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK } from "./node-network.ts";

export const PAUSE_IMAGE = "localhost/pause:1";
/** Folder of the containers' run-time state, such as their mounts. */
export const STATE_FOLDER = "/run/lucky-containerd";
const SOCKET = `${STATE_FOLDER}/containerd.sock`;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

/** Runs a command of containerd's client on the images and containers of the cluster. */
export function ctr(...args: readonly string[]): string {
  const command = [...INSIDE, "ctr", `--address=${SOCKET}`, "--namespace=k8s.io", ...args];
  return runCommand(command, { timeoutMs: 300_000 });
}

/** Starts containerd. */
export async function startContainerd({ processes, folder }: ControlPlaneOptions): Promise<void> {
  const networks = join(folder, "cni");
  mkdirSync(networks, { recursive: true });
  mkdirSync(STATE_FOLDER, { recursive: true });
  // Routed instead of bridged: policies would apply to packets between the pods of a bridge only
  // with a kernel module.
  writeFileSync(
    join(networks, "10-pods.conflist"),
    JSON.stringify({
      cniVersion: "0.4.0",
      name: "pods",
      plugins: [
        {
          type: "ptp",
          ipMasq: false,
          ipam: {
            type: "host-local",
            ranges: [[{ subnet: POD_NETWORK }]],
            routes: [{ dst: "0.0.0.0/0" }],
            dataDir: join(folder, "cni-addresses"),
          },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    }),
  );
  const configFile = join(folder, "containerd.toml");
  writeFileSync(
    configFile,
    `version = 2
root = "${join(folder, "containerd")}"
state = "${STATE_FOLDER}"
[grpc]
  address = "${SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "/usr/sbin/runc"
`,
  );
  processes.start("containerd", ["/usr/bin/containerd", `--config=${configFile}`]);
  const ready = () => /\bcri\b.*\bok\b/.test(ctr("plugins", "ls"));
  await waitFor("containerd answers", ready, START_TIMEOUT_MS);
}

/** Starts the kubelet and kube-proxy. */
export function startKubelet(options: ControlPlaneOptions): void {
  const { processes, certificates, binary, folder } = options;
  const { file, adminConfig, nodeConfig } = certificates;
  writeFileSync(join(folder, "resolv.conf"), "");
  const kubeletFile = join(folder, "kubelet.yaml");
  writeFileSync(
    kubeletFile,
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: file("ca.crt") },
      },
      authorization: { mode: "Webhook" },
      // The defaults need features that a development machine or a container lacks or forbids.
      cgroupDriver: "cgroupfs",
      failCgroupV1: false,
      failSwapOn: false,
      oomScoreAdj: 0,
      enforceNodeAllocatable: [],
      evictionHard: { "memory.available": "100Mi" },
      containerRuntimeEndpoint: `unix://${SOCKET}`,
      tlsCertFile: file("node.crt"),
      tlsPrivateKeyFile: file("node.key"),
      clusterDomain: "cluster.local",
      clusterDNS: [DNS_ADDRESS],
      resolvConf: join(folder, "resolv.conf"),
      maxPods: 60,
      // Maximum delay between a change of a ConfigMap and the files of a pod.
      syncFrequency: "10s",
      configMapAndSecretChangeDetectionStrategy: "Watch",
    }),
  );
  processes.start("kubelet", [
    binary("kubelet"),
    `--config=${kubeletFile}`,
    `--kubeconfig=${nodeConfig}`,
    "--hostname-override=node0",
    `--node-ip=${NODE_ADDRESS}`,
    `--root-dir=${join(folder, "kubelet")}`,
  ]);
  const proxyFile = join(folder, "kube-proxy.yaml");
  writeFileSync(
    proxyFile,
    JSON.stringify({
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      clientConnection: { kubeconfig: adminConfig },
      mode: "nftables",
      clusterCIDR: POD_NETWORK,
      hostnameOverride: "node0",
      // These settings of the kernel belong to the whole machine.
      conntrack: { maxPerCore: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    }),
  );
  processes.start("kube-proxy", [binary("kube-proxy"), `--config=${proxyFile}`]);
}

/** Starts the controller that enforces NetworkPolicies. */
export function startNetworkPolicies({
  processes,
  certificates,
  binary,
}: ControlPlaneOptions): void {
  processes.start("kube-router", [
    binary("kube-router"),
    `--kubeconfig=${certificates.adminConfig}`,
    "--hostname-override=node0",
    "--run-firewall=true",
    "--run-router=false",
    "--run-service-proxy=false",
    "--run-loadbalancer=false",
    `--service-cluster-ip-range=${SERVICE_NETWORK}`,
  ]);
}

/** Ends all containers, and the processes of the node. Idempotent. */
export async function stopNode({
  processes,
}: Pick<ControlPlaneOptions, "processes">): Promise<void> {
  await processes.stop("kube-router", "kube-proxy", "kubelet");
  if (processes.isRunning("containerd")) {
    const list = (kind: string) => ctr(kind, "list", "--quiet").split("\n").filter(Boolean);
    for (const id of list("tasks")) tolerate(() => ctr("tasks", "kill", "--signal=SIGKILL", id));
    const gone = () => !ctr("tasks", "list").includes("RUNNING");
    await waitFor("all containers have ended", gone, STOP_TIMEOUT_MS);
    for (const id of list("containers")) tolerate(() => ctr("tasks", "delete", id));
    for (const id of list("containers")) tolerate(() => ctr("containers", "delete", id));
  }
  await processes.stop("containerd");
}

/** Runs a command and ignores its failure: the container may have ended after it was listed. */
function tolerate(command: () => void): void {
  try {
    command();
  } catch {
    // The wait for all containers, or the next start, finds containers that are left.
  }
}
