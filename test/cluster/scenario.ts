import { setTimeout as pause } from "node:timers/promises";
import { waitFor } from "../../scripts/cluster/commands.ts";
import type { PhaseReport } from "./load-messages.ts";
import type { Load } from "./load-process.ts";
import { LIVE_SETTINGS, type Lucky, WORKLOADS, type Workload } from "./lucky.ts";

/** Time after each change in which its consequences still count for it. */
const AFTER_MS = 8_000;
const SCALE_TIMEOUT_MS = 180_000;
/** The kubelet writes a changed ConfigMap into a pod within about a minute. */
const LIVE_TIMEOUT_MS = 150_000;

export interface ScenarioOptions {
  readonly lucky: Lucky;
  readonly load: Load;
}

/** A report, and whether its targets apply: an operator planned the change. */
export interface ScenarioReport extends PhaseReport {
  readonly planned: boolean;
}

interface Change {
  readonly name: string;
  readonly planned: boolean;
  make(lucky: Lucky): Promise<void>;
}

const SERVICES = Object.keys(WORKLOADS) as Workload[];

function restart(name: Workload): Change {
  return {
    name: `rollout restart ${name}`,
    planned: true,
    async make(lucky) {
      await lucky.kubectl("rollout", "restart", WORKLOADS[name]);
      await lucky.ready(name);
    },
  };
}

function scale(name: Workload, replicas: number): Change {
  return {
    name: `scale ${name} to ${replicas}`,
    planned: true,
    async make(lucky) {
      await lucky.kubectl("scale", WORKLOADS[name], `--replicas=${replicas}`);
      await lucky.waitForPods(name, (count) => count === replicas, SCALE_TIMEOUT_MS);
      await lucky.stopped();
    },
  };
}

/** Deletes the first pod of a workload at once, without a drain. */
function kill(name: string): Change {
  return {
    name: `delete --force ${name}`,
    planned: false,
    async make(lucky) {
      const [pod] = await lucky.pods(name);
      await lucky.kubectl("delete", "pod", pod!, "--grace-period=0", "--force");
      // The controller may not have seen yet that the pod is gone.
      await pause(2_000);
      await lucky.ready();
    },
  };
}

const CHANGES: readonly Change[] = [
  { name: "nothing", planned: true, make: () => pause(10_000) },
  ...SERVICES.map(restart),
  {
    name: "image with a migration",
    planned: true,
    make: (lucky) => lucky.apply({ tag: "next" }),
  },
  {
    name: "live settings",
    planned: true,
    async make(lucky) {
      const pods = (await Promise.all(SERVICES.map((name) => lucky.pods(name)))).flat();
      await lucky.apply({
        tag: "next",
        liveSettings: LIVE_SETTINGS.replace("}", ", sendPerSecond: 150 }"),
      });
      const applied = (pod: string) =>
        lucky.metric(pod, 'lucky_settings_reloads_total{result="applied"}');
      // Asks the pods of before: a change of live settings replaces none.
      for (const pod of pods)
        await waitFor(
          `${pod} has the new settings`,
          async () => (await applied(pod)) > 0,
          LIVE_TIMEOUT_MS,
        );
    },
  },
  scale("connect", 4),
  scale("connect", 2),
  scale("connect", 3),
  scale("server", 3),
  scale("server", 1),
  scale("server", 2),
  ...SERVICES.map(kill),
  kill("redis"),
  kill("rabbitmq"),
  {
    // Not by force: Kubernetes would not wait for its end, and two servers could write to one volume.
    name: "kill postgres",
    planned: false,
    async make(lucky) {
      await lucky.kubectl("delete", "pod", "postgres-0", "--grace-period=1");
      await lucky.ready();
    },
  },
  {
    name: "production overlay, scaled by CPU",
    planned: true,
    async make(lucky) {
      await lucky.apply({ overlay: "production", tag: "next" });
      await lucky.waitForPods("server", (count) => count > 2, SCALE_TIMEOUT_MS);
    },
  },
];

/** Makes all changes, one after the other, and yields what the load measured during each. */
export async function* makeChanges({
  lucky,
  load,
}: ScenarioOptions): AsyncGenerator<ScenarioReport> {
  const only = process.env.LUCKY_CLUSTER_ONLY;
  for (const { name, planned, make } of CHANGES) {
    if (only && !new RegExp(only).test(name)) continue;
    await load.phase(name);
    await make(lucky);
    await pause(AFTER_MS);
    yield { ...(await load.phase("between")), planned };
  }
}
