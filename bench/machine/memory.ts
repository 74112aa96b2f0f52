import { readFileSync } from "node:fs";

const PAGE_KIB = 4;

/** KiB of memory. */
export interface Memory {
  /** Proportional set size of the processes: their private memory and their share of shared memory. */
  readonly pssKib: number;
  readonly rssKib: number;
  /** Kernel memory: slabs and TCP buffers, with both ends of local connections. */
  readonly kernelKib: number;
}

/** Reads the memory of processes and of the kernel. */
export function readMemory(pids: readonly number[]): Memory {
  const sum = (read: (pid: number) => number) => pids.reduce((kib, pid) => kib + read(pid), 0);
  return {
    pssKib: sum((pid) => readKib(`/proc/${pid}/smaps_rollup`, "Pss")),
    rssKib: sum(residentKib),
    kernelKib: readKib("/proc/meminfo", "Slab") + tcpKib(),
  };
}

/** Resident memory of a process, KiB. Cheaper to read than the proportional set size. */
export function residentKib(pid: number): number {
  return readKib(`/proc/${pid}/status`, "VmRSS");
}

/**
 * Memory of a process and its children, KiB: the private memory of each, plus once the shared memory of the
 * process that has the most. Cheaper to read than the proportional set sizes.
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
      // The child ended after the listing.
    }
  }
  return ownKib + sharedKib;
}

function readKib(file: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync(file, "utf8"));
  if (!found) throw new Error(`${file} has no ${name}`);
  return Number(found[1]);
}

function tcpKib(): number {
  const found = /^TCP:.* mem (\d+)/m.exec(readFileSync("/proc/net/sockstat", "utf8"));
  return Number(found?.[1] ?? 0) * PAGE_KIB;
}
