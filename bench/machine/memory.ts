import { readFileSync } from "node:fs";

const PAGE_KIB = 4;

/** KiB of memory. */
export interface Memory {
  /** Of the processes: what is theirs alone, and their part of what they share. */
  readonly pssKib: number;
  readonly rssKib: number;
  /** Of the kernel: its objects, and what TCP keeps in buffers. Both ends of local connections. */
  readonly kernelKib: number;
}

/** Reads what processes and the kernel hold. */
export function readMemory(pids: readonly number[]): Memory {
  const sum = (read: (pid: number) => number) => pids.reduce((kib, pid) => kib + read(pid), 0);
  return {
    pssKib: sum((pid) => readKib(`/proc/${pid}/smaps_rollup`, "Pss")),
    rssKib: sum(residentKib),
    kernelKib: readKib("/proc/meminfo", "Slab") + tcpKib(),
  };
}

/** What of a process is in memory, KiB. Cheap, unlike its own part of it. */
export function residentKib(pid: number): number {
  return readKib(`/proc/${pid}/status`, "VmRSS");
}

/**
 * What a process and its children hold, KiB: of each what is its own, and once what they share, as
 * far as the one with the most of it has it. Cheap, unlike the proportional parts of all.
 */
export function processTreeKib(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  let ownKib = 0;
  let sharedKib = 0;
  for (const one of [pid, ...children.split(" ").filter(Boolean)]) {
    try {
      const file = `/proc/${one}/status`;
      const [own, shared] = [readKib(file, "RssAnon"), readKib(file, "RssShmem")];
      ownKib += own;
      sharedKib = Math.max(sharedKib, shared);
    } catch {
      // A child that ended meanwhile.
    }
  }
  return ownKib + sharedKib;
}

function readKib(file: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync(file, "utf8"));
  if (!found) throw new Error(`${file} does not say ${name}`);
  return Number(found[1]);
}

function tcpKib(): number {
  const found = /^TCP:.* mem (\d+)/m.exec(readFileSync("/proc/net/sockstat", "utf8"));
  return Number(found?.[1] ?? 0) * PAGE_KIB;
}
