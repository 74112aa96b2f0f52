import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { findKubectl } from "../../scripts/cluster/binaries.ts";

const root = join(import.meta.dirname, "../..");

/** Every kustomization that the repository offers, by its folder. */
export const KUSTOMIZATIONS = {
  dev: "k8s/overlays/dev",
  production: "k8s/overlays/production",
  "all components": "test/kubernetes/all-components",
  samples: "k8s/samples",
} as const;
export type Kustomization = keyof typeof KUSTOMIZATIONS;

/** Where the value of a variable comes from. */
interface ValueFrom {
  readonly fieldRef?: { readonly fieldPath: string };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: ValueFrom;
  }[];
  readonly envFrom?: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  readonly lifecycle?: { readonly preStop?: { readonly sleep: { readonly seconds: number } } };
  readonly resources?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly [probe: `${string}Probe`]: { readonly httpGet?: { readonly path: string } } | undefined;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly secret?: {
      readonly secretName: string;
      readonly items: readonly { readonly key: string; readonly path: string }[];
    };
  }[];
  readonly terminationGracePeriodSeconds?: number;
  readonly enableServiceLinks?: boolean;
  readonly securityContext?: Readonly<Record<string, unknown>>;
}

/** A rendered object, as far as the tests read it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Labels;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: Spec;
}

type Labels = Readonly<Record<string, string>>;

/** Fields of several kinds. */
interface Spec {
  readonly replicas?: number;
  readonly template?: { readonly metadata: { readonly labels: Labels }; readonly spec: PodSpec };
  readonly selector?: { readonly matchLabels: Labels };
  readonly podSelector?: { readonly matchLabels?: Labels };
  readonly ingress?: readonly { readonly ports?: readonly { readonly port: number }[] }[];
  readonly scaleTargetRef?: { readonly kind: string };
}

/** Renders a kustomization to YAML. */
export function render(name: Kustomization): string {
  const args = ["kustomize", join(root, KUSTOMIZATIONS[name])];
  return execFileSync(findKubectl(), args, { encoding: "utf8" });
}

/** The objects in a text of YAML. */
export function objectsOf(yaml: string): Manifest[] {
  return parseAllDocuments(yaml).map((document) => document.toJS() as Manifest);
}
