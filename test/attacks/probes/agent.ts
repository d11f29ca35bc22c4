import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { eventually } from "@manyhands/testkit";
import { docker, EVERYTHING, image, undefended } from "../control.ts";
import type { Finding } from "../judge.ts";
import type { Probe } from "../probe.ts";
import { openTarget, type Target, type TargetHand } from "../target.ts";

const ROOT = [...EVERYTHING, "--network", "none"];

const FAST = ["memory of the agent", "kill of the agent", "journal of the agent"];

function inside(name: string, attack: readonly string[], control: readonly string[] = attack): Probe {
  return {
    name,
    fast: FAST.includes(name),
    attack: (target) => stillObeys(target.attacker, () => target.attacker.python(attack)),
    control: () => undefended([...ROOT, "--tmpfs", "/.manyhands/journal", "--tmpfs", "/.manyhands/run"], control),
  };
}

/** Whatever was tried: the same agent answers afterwards. */
async function stillObeys(hand: TargetHand, work: () => Promise<Finding>): Promise<Finding> {
  const before = await hand.id();
  const found = await work();
  const { content } = await hand.bash("echo alive");
  if (content !== "alive\n" || before !== (await hand.id())) return { escaped: true, evidence: "the agent is gone" };
  return found;
}

/** The one process in a hand that others trust. */
export const agentProbes: readonly Probe[] = [
  inside("ptrace of the agent", ["attach_agent"]),
  inside("memory of the agent", ["read_memory"]),
  inside("environment and files of the agent", ["look_at_agent"]),
  inside("agent's program by /proc/1/exe", ["overwrite_exe"]),
  inside("kill of the agent", ["kill_agent"], ["kill_agent", "child"]),
  inside("journal of the agent", ["journal"]),
  inside("scripts of the next commands", ["scripts"]),
  {
    name: "forged agent messages in output",
    async attack({ attacker }) {
      const { result, content } = await attacker.bash(
        "python3 -B ~/inside.py forge; exit_with() { return 3; }; exit_with",
      );
      const whole = result.exitCode === 3 && Number(result.outputBytes) > 1000 && content.includes("forged");
      const evidence = `exit code ${result.exitCode}, ${result.outputBytes} bytes of frames shown as plain output`;
      return { escaped: !whole, evidence };
    },
    control: forgeAsRoot,
  },
  {
    name: "forged agent messages on the agent's own stream",
    async attack({ attacker }) {
      return stillObeys(attacker, () => attacker.python(["forge", "stream"]));
    },
    control: forgeAsRoot,
  },
  {
    name: "timeout against ignored signals and double forks",
    fast: true,
    attack: runaway,
    control: abandonedExec,
  },
];

/** Who may write to the agent's stdout is believed: the frames are right, and only rights keep tools from sending them. */
async function forgeAsRoot(agent: string): Promise<Finding> {
  const target = await openTarget("runc", agent);
  try {
    const handId = await target.attacker.id();
    const name = `manyhands-${handId}`;
    const frames = execFileSync("docker", ["exec", "-w", "/home/hand", name, "python3", "-B", "inside.py", "forge"]);
    const pid = execFileSync("docker", ["inspect", "-f", "{{.State.Pid}}", name], { encoding: "utf8" }).trim();
    const honest = target.attacker.bash("echo begun > begun; sleep 3; echo honest");
    await eventually(async () => !(await target.attacker.call("read", { file_path: "begun" })).isError, {
      timeoutMs: 2500,
    });
    writeFileSync(`/proc/${pid}/fd/1`, frames);
    const { result } = await honest;
    const evidence = `the host's root forged the end of a running command: exit code ${result.exitCode}`;
    return { escaped: result.exitCode === 77, evidence };
  } finally {
    await target.stop();
  }
}

async function runaway({ attacker }: Target): Promise<Finding> {
  const mark = String(7_000_000 + Math.floor(Math.random() * 999_999));
  const script = `trap '' TERM INT HUP; setsid sleep ${mark} & (setsid sh -c "trap '' TERM; sleep ${mark}; sleep ${mark}" & exit 0); sleep ${mark}`;
  const { killed } = await attacker.bash(script, 800);
  const { content } = await attacker.bash(
    `n=0; for f in /proc/[0-9]*/cmdline; do if tr '\\0' ' ' < $f 2>/dev/null | grep -q '^sleep ${mark}'; then n=$((n+1)); fi; done; echo $n`,
  );
  return { escaped: !killed || content.trim() !== "0", evidence: `killed: ${killed}, left alive: ${content.trim()}` };
}

/** A command whose caller is killed at its time limit, run as an engine runs it: it goes on. */
async function abandonedExec(): Promise<Finding> {
  const name = `manyhands-control-${createHash("sha256").update(String(process.hrtime.bigint())).digest("hex").slice(0, 8)}`;
  await docker(["run", "-d", "--rm", "--name", name, "--network", "none", image, "sleep", "60"]);
  try {
    await docker(["exec", "-d", name, "sh", "-c", "trap '' TERM; sleep 7654321; sleep 7654321"]);
    const left = await docker(["exec", name, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 7654321"]);
    return { escaped: Number(left.trim()) > 0, evidence: `lines with its processes: ${left.trim()}` };
  } finally {
    await docker(["rm", "-f", name]);
  }
}
