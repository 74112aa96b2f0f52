import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

/**
 * Installs packages with apt, on Debian. A policy file keeps them from starting their services. Elsewhere
 * it throws an error with the advice.
 */
export function installPackages(packages: readonly string[], advice: string): void {
  if (packages.length === 0) return;
  if (!existsSync("/usr/bin/apt-get"))
    throw new Error(`Not installed: ${packages.join(", ")}. ${advice}`);
  console.log(`Installing ${packages.join(", ")} …`);
  const script = `set -e
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap "rm -f $policy" EXIT
      printf '#!/bin/sh\\nexit 101\\n' > $policy
      chmod +x $policy
    fi
    apt-get -q update
    apt-get -q install -y --no-install-recommends ${packages.join(" ")}`;
  const command = process.getuid?.() === 0 ? ["sh", "-c", script] : ["sudo", "sh", "-c", script];
  execFileSync(command[0]!, command.slice(1), { stdio: "inherit" });
}
