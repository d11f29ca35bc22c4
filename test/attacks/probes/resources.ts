import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { docker, image, undefended, undefendedOutput } from "../control.ts";
import { type Finding, judge } from "../judge.ts";
import type { Probe } from "../probe.ts";
import { LIMITS, type TargetHand } from "../target.ts";

const MIB = 1024 * 1024;
/** More than any hand under attack may have, and little enough for the machine. */
const MORE_MIB = String((2 * LIMITS.memoryBytes) / MIB);
const MORE_PROCESSES = String(3 * LIMITS.pids);
const ATTACK_MS = 60_000;
/** Of an attack that was ended by force: what it left in memory is the hand's, and would answer for the next attack. */
const LEFTOVERS = "rm -rf /tmp/mh-* /dev/shm/mh-* ~/mh-* /workspace/mh-* /workspace/deep";
const NO_NETWORK = ["--network", "none"];

function exhaust(name: string, attack: readonly string[], more: Partial<Probe> = {}): Probe {
  return {
    name,
    exhausts: true,
    async attack({ attacker }) {
      await attacker.bash(LEFTOVERS);
      return attacker.forced(attack, ATTACK_MS);
    },
    control: () => undefended(NO_NETWORK, attack),
    ...more,
  };
}

/** What a hand could take from its neighbours and its host. */
export const resourceProbes: readonly Probe[] = [
  exhaust("open files", ["files", "10000"]),
  exhaust("raise of its own limits", ["raise_limits"], { exhausts: false }),
  exhaust("fork bomb", ["processes", MORE_PROCESSES], { fast: true }),
  exhaust("thread bomb", ["threads", MORE_PROCESSES]),
  exhaust("workspace filled", ["fill", "/workspace", MORE_MIB], {
    fast: true,
    control: () => undefended([...NO_NETWORK, "--tmpfs", "/workspace:size=900m"], ["fill", "/workspace", MORE_MIB]),
  }),
  exhaust("temporary folder filled", ["fill", "/tmp", MORE_MIB], {
    control: () => undefended([...NO_NETWORK, "--tmpfs", "/tmp:size=900m"], ["fill", "/tmp", MORE_MIB]),
  }),
  exhaust("shared memory filled", ["fill", "/dev/shm", MORE_MIB], {
    control: () => undefended([...NO_NETWORK, "--shm-size", "900m"], ["fill", "/dev/shm", MORE_MIB]),
  }),
  exhaust("home folder filled", ["fill", "/home/hand", MORE_MIB], {
    control: () => undefended([...NO_NETWORK, "--tmpfs", "/home/hand:size=900m"], ["fill", "/home/hand", MORE_MIB]),
  }),
  exhaust("inodes", ["inodes", "/workspace", "60000"], {
    on: ["runc"],
    control: () => undefended([...NO_NETWORK, "--tmpfs", "/workspace:size=900m"], ["inodes", "/workspace", "60000"]),
  }),
  exhaust("zip bomb", ["gzip_bomb", "/workspace", MORE_MIB], {
    control: () =>
      undefended([...NO_NETWORK, "--tmpfs", "/workspace:size=900m"], ["gzip_bomb", "/workspace", MORE_MIB]),
  }),
  exhaust("memory bomb", ["memory", MORE_MIB], { fast: true }),
  exhaust("memory files (memfd)", ["memory_files", MORE_MIB]),
  {
    name: "output flood",
    exhausts: true,
    attack: ({ attacker }) => flood(attacker),
    control: floodedLog,
  },
  {
    name: "folders 3000 deep under the file tools",
    exhausts: true,
    async attack({ attacker }) {
      await attacker.bash("rm -rf deep; mkdir deep; python3 -B ~/inside.py depth /workspace/deep 3000");
      const glob = await attacker.call("glob", { pattern: "**/*.none", path: "deep" });
      const { content } = await attacker.bash("echo alive");
      return { escaped: content !== "alive\n", evidence: `glob answered ${glob.content.slice(0, 80)}` };
    },
    async control() {
      const walk =
        "import os,sys;sys.setrecursionlimit(900)\ndef w(p):\n  for n in os.listdir(p): w(p+'/'+n)\ntry: w('/tmp')\nexcept (RecursionError, OSError) as e: print('ESCAPED a walk without bounds broke:', type(e).__name__)";
      const script = `python3 /attacks/inside.py depth /tmp 3000; cd /; python3 -c "$W"`;
      return judge(await undefendedOutput([...NO_NETWORK, "-e", `W=${walk}`], ["sh", "-c", script]));
    },
  },
  {
    name: "endless loop in a virtual hand",
    fast: true,
    on: ["virtual"],
    async attack({ attacker }) {
      const { killed, isError, content } = await attacker.bash("while true; do x=1; done", 1500);
      return { escaped: !killed && !isError, evidence: content.trim().slice(0, 200) };
    },
    async control() {
      const output = await undefendedOutput(NO_NETWORK, [
        "timeout",
        "-s",
        "KILL",
        "2",
        "sh",
        "-c",
        "while true; do x=1; done",
      ]);
      return { escaped: true, evidence: `a plain shell runs until it is killed ${output.trim()}` };
    },
  },
  {
    name: "file system of a virtual hand filled",
    on: ["virtual"],
    async attack({ attacker }) {
      const { content, isError } = await attacker.bash(
        "printf x > a; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28; do cat a a > b || exit 1; mv b a || exit 1; done; wc -c a",
        20_000,
      );
      const full = isError || Number(/\d+/.exec(content)?.[0] ?? 0) <= LIMITS.workspaceBytes;
      return { escaped: !full, evidence: content.trim().slice(0, 200) };
    },
    control: () => undefended([...NO_NETWORK, "--tmpfs", "/workspace:size=900m"], ["fill", "/workspace", MORE_MIB]),
  },
];

/** 300 MB on stdout: what the engine writes down, what the manager keeps, and whether head and tail are there. */
async function flood(hand: TargetHand): Promise<Finding> {
  await hand.bash(LEFTOVERS);
  const before = process.memoryUsage().rss;
  const { content, result } = await hand.bash(
    "echo HEAD; head -c 300000000 /dev/zero | tr '\\0' x; echo; echo TAIL",
    ATTACK_MS,
  );
  const grown = (process.memoryUsage().rss - before) / MIB;
  const whole = content.startsWith("HEAD\n") && content.endsWith("TAIL\n") && content.length < 200_000;
  const evidence = `${result.outputBytes} bytes written, ${content.length} characters shown, manager grew ${grown.toFixed(0)} MiB`;
  return { escaped: !whole || grown > 200, evidence };
}

/** A container as the engine makes it by default writes all of it to the host's disk. */
async function floodedLog(): Promise<Finding> {
  const name = `manyhands-control-${process.pid}-flood`;
  await docker([
    "run",
    "-d",
    "--name",
    name,
    "--log-driver",
    "json-file",
    ...NO_NETWORK,
    image,
    "sh",
    "-c",
    "yes | head -c 8000000",
  ]);
  try {
    await docker(["wait", name]);
    const log = execFileSync("docker", ["inspect", "-f", "{{.LogPath}}", name], { encoding: "utf8" }).trim();
    const bytes = statSync(log).size;
    return {
      escaped: bytes > 8_000_000,
      evidence: `8 MB of output became ${(bytes / 1e6).toFixed(0)} MB of log on the host`,
    };
  } finally {
    await docker(["rm", "-f", name]);
  }
}
