import { join } from "node:path";
import type { Certificates } from "./certificates.ts";
import { NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK } from "./node-network.ts";
import type { Processes } from "./processes.ts";

export interface ControlPlaneOptions {
  readonly processes: Processes;
  readonly certificates: Certificates;
  /** The path of a binary. */
  readonly binary: (name: string) => string;
  /** Folder for etcd's data. */
  readonly folder: string;
}

/** Starts etcd and the API server. */
export function startApiServer(options: ControlPlaneOptions): void {
  const { processes, certificates, binary, folder } = options;
  const { file } = certificates;
  const [clients, peers] = ["http://127.0.0.1:2379", "http://127.0.0.1:2380"];
  processes.start("etcd", [
    binary("etcd"),
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=${clients}`,
    `--advertise-client-urls=${clients}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=default=${peers}`,
    "--unsafe-no-fsync",
  ]);
  processes.start("kube-apiserver", [
    binary("kube-apiserver"),
    `--etcd-servers=${clients}`,
    "--secure-port=6443",
    `--advertise-address=${NODE_ADDRESS}`,
    `--tls-cert-file=${file("apiserver.crt")}`,
    `--tls-private-key-file=${file("apiserver.key")}`,
    `--client-ca-file=${file("ca.crt")}`,
    `--service-account-key-file=${file("sa.pub")}`,
    `--service-account-signing-key-file=${file("sa.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-cluster-ip-range=${SERVICE_NETWORK}`,
    "--authorization-mode=Node,RBAC",
    "--allow-privileged",
    // For metrics-server, which serves a part of the API.
    `--requestheader-client-ca-file=${file("ca.crt")}`,
    "--requestheader-allowed-names=",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-username-headers=X-Remote-User",
    `--proxy-client-cert-file=${file("admin.crt")}`,
    `--proxy-client-key-file=${file("admin.key")}`,
    "--enable-aggregator-routing=true",
    "--kubelet-preferred-address-types=InternalIP",
    `--kubelet-client-certificate=${file("admin.crt")}`,
    `--kubelet-client-key=${file("admin.key")}`,
  ]);
}

/** Starts the controller manager and the scheduler. */
export function startControllers(options: ControlPlaneOptions): void {
  const { processes, certificates, binary } = options;
  const { file, adminConfig } = certificates;
  processes.start("kube-controller-manager", [
    binary("kube-controller-manager"),
    `--kubeconfig=${adminConfig}`,
    `--service-account-private-key-file=${file("sa.key")}`,
    `--root-ca-file=${file("ca.crt")}`,
    "--use-service-account-credentials",
    "--leader-elect=false",
    "--allocate-node-cidrs",
    `--cluster-cidr=${POD_NETWORK}`,
    "--node-cidr-mask-size=24",
    // The defaults are too slow for a test: five minutes before a scale down, half a minute per
    // sample.
    "--horizontal-pod-autoscaler-sync-period=5s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=10s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
    "--horizontal-pod-autoscaler-downscale-stabilization=15s",
  ]);
  processes.start("kube-scheduler", [
    binary("kube-scheduler"),
    `--kubeconfig=${adminConfig}`,
    "--leader-elect=false",
  ]);
}
