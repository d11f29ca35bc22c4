import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { docker, image, undefended } from "../control.ts";
import type { Finding } from "../judge.ts";
import type { Probe } from "../probe.ts";
import type { Target } from "../target.ts";

const newToken = () => `trace${randomBytes(6).toString("hex")}`;

/** What one session could leave for another. */
export const sessionProbes: readonly Probe[] = [
  {
    name: "traces for a neighbour",
    async attack({ attacker, neighbour }) {
      const token = newToken();
      await attacker.bash(
        `setsid python3 -B ~/inside.py leave_traces ${token} > /tmp/left 2>&1 & until grep -q left /tmp/left; do sleep 0.05; done`,
      );
      return neighbour.python(["find_traces", token]);
    },
    control: neighboursThatShare,
  },
  {
    name: "survive the end of the session",
    fast: true,
    attack: survive,
    async control() {
      const mark = newToken();
      const child = (await import("node:child_process")).spawn("sh", ["-c", `exec sleep 30 # ${mark}`, mark]);
      try {
        return { escaped: onThisMachine(mark) || onThisMachine("sleep 30"), evidence: "a process that lives is found" };
      } finally {
        child.kill("SIGKILL");
      }
    },
  },
];

/** Two containers that share what hands do not. */
async function neighboursThatShare(): Promise<Finding> {
  const token = newToken();
  const name = `manyhands-control-${token}`;
  const folder = import.meta.dirname.replace(/\/probes$/, "");
  const mounts = ["-v", `${folder}:/attacks:ro`, "-v", `${name}:/workspace`];
  await docker([
    "run",
    "-d",
    "--name",
    name,
    "--ipc",
    "shareable",
    ...mounts,
    image,
    "python3",
    "/attacks/inside.py",
    "leave_traces",
    token,
  ]);
  try {
    const shared = [
      "--ipc",
      `container:${name}`,
      "--network",
      `container:${name}`,
      "--pid",
      `container:${name}`,
      "-v",
      `${name}:/workspace`,
    ];
    return await undefended(shared, ["find_traces", token]);
  } finally {
    await docker(["rm", "-f", "-v", name]);
    await docker(["volume", "rm", "-f", name]);
  }
}

/** A process and files that want to outlive the hand; then the hand is released and another one of the same session looks. */
async function survive({ attacker, runtime }: Target): Promise<Finding> {
  const token = newToken();
  await attacker.bash(
    `trap '' TERM; cp /bin/sleep /workspace/${token}; (setsid /workspace/${token} 300 > /dev/null 2>&1 &); for d in /tmp /dev/shm /home/hand /workspace; do echo ${token} > $d/${token}.txt; done; true`,
  );
  const livedBefore = runtime === "runsc" || onThisMachine(token);
  await attacker.release();
  const { content } = await attacker.bash(
    `find / -name '*${token}*' -not -path '/proc/*' 2>/dev/null | head -3; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep '^/workspace/${token}'`,
  );
  const left = onThisMachine(token);
  if (!livedBefore) return { escaped: undefined, evidence: "the process to look for never ran" };
  return {
    escaped: left || content.includes(token),
    evidence: `on the host: ${left ? "its process" : "nothing"}; in the next hand: ${content.trim() || "nothing"}`,
  };
}

function onThisMachine(mark: string): boolean {
  const processes = execFileSync("ps", ["-eo", "pid,args"], { encoding: "utf8" }).split("\n");
  return processes.some((line) => line.includes(mark) && !line.includes("ps -eo"));
}
