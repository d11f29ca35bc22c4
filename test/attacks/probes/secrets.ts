import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EVERYTHING, undefended } from "../control.ts";
import type { Finding } from "../judge.ts";
import type { Probe } from "../probe.ts";

/** In the environment of the process that makes hands, as a key would be. */
const CANARY = `canary${randomBytes(12).toString("hex")}`;
process.env.MANYHANDS_ATTACK_CANARY = CANARY;

/** A file of the host that everybody there may read, for as long as `work` runs. */
export async function withHostFile<T>(work: (path: string, canary: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync("/tmp/manyhands-canary-");
  const path = join(folder, "secret.txt");
  writeFileSync(path, CANARY, { mode: 0o644 });
  try {
    return await work(path, CANARY);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const hostFile = (run: (attack: readonly string[], path: string) => Promise<Finding>) => () =>
  withHostFile((path, canary) => run(["canary_file", path, canary], path));

/** What a hand must not be able to read, because it is not in it. */
export const secretProbes: readonly Probe[] = [
  {
    name: "secrets in environments",
    fast: true,
    attack: (target) => target.attacker.python(["canary_in_environment", CANARY]),
    control: () =>
      undefended(["-e", `MANYHANDS_ATTACK_CANARY=${CANARY}`, "--network", "none"], ["canary_in_environment", CANARY]),
  },
  {
    name: "files of the host",
    fast: true,
    attack: (target) => hostFile((attack) => target.attacker.python(attack))(),
    control: hostFile((attack, path) => undefended(["-v", `${path}:/host${path}:ro`, "--network", "none"], attack)),
  },
  {
    name: "open directories of the host (Leaky Vessels)",
    attack: (target) => target.attacker.python(["leaked_files"]),
    control: () => undefended(["--network", "none"], ["leaked_files"]).then(leakOnPurpose),
  },
  {
    name: "socket of the engine",
    fast: true,
    attack: (target) => target.attacker.python(["engine_socket"]),
    control: () =>
      undefended(
        [...EVERYTHING, "-v", "/var/run/docker.sock:/var/run/docker.sock", "--network", "none"],
        ["engine_socket"],
      ),
  },
  {
    name: "secrets in a virtual hand",
    fast: true,
    on: ["virtual"],
    async attack({ attacker }) {
      const { content } = await attacker.bash(
        "env; cat /proc/self/environ /proc/1/environ 2>&1; echo $MANYHANDS_ATTACK_CANARY",
      );
      return { escaped: content.includes(CANARY), evidence: `looked at ${content.length} characters` };
    },
    async control() {
      const { execFileSync } = await import("node:child_process");
      const content = execFileSync("sh", ["-c", "env"], { encoding: "utf8" });
      return { escaped: content.includes(CANARY), evidence: "a plain shell of the same process shows it" };
    },
  },
  {
    name: "files of the host from a virtual hand",
    fast: true,
    on: ["virtual"],
    attack: ({ attacker }) =>
      withHostFile(async (path, canary) => {
        const { content } = await attacker.bash(
          `cat ${path} /../../..${path}; ln -s ${path} l; cat l; ls /etc/shadow; cat /etc/passwd`,
        );
        return {
          escaped: content.includes(canary) || content.includes("root:"),
          evidence: content.trim().slice(0, 200),
        };
      }),
    control: () =>
      withHostFile(async (path, canary) => {
        const { execFileSync } = await import("node:child_process");
        const content = execFileSync("cat", [path], { encoding: "utf8" });
        return { escaped: content.includes(canary), evidence: "a plain shell of the same machine shows it" };
      }),
  },
];

/** The same look in a shell that was started with a directory of the host open. */
async function leakOnPurpose(): Promise<Finding> {
  const { judge } = await import("../judge.ts");
  const { undefendedOutput } = await import("../control.ts");
  const command = ["sh", "-c", "exec 9</host; exec python3 /attacks/inside.py leaked_files"];
  return judge(await undefendedOutput(["-v", "/tmp:/host:ro", "--network", "none"], command));
}
