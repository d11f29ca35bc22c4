import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { undefendedOutput } from "../control.ts";
import { type Finding, judge } from "../judge.ts";
import type { Probe } from "../probe.ts";
import type { TargetHand } from "../target.ts";
import { withHostFile } from "./secrets.ts";

/** Spellings of one path that have deceived file tools. */
function spellings(path: string): string[] {
  const up = "../".repeat(20);
  return [
    path,
    `/${path}`,
    up + path.slice(1),
    `/workspace/${up}${path.slice(1)}`,
    `/workspace-evil/..${path}`,
    `/workspace/%2e%2e/%2e%2e${path}`,
    `..\\..\\..${path.replaceAll("/", "\\")}`,
    `/proc/self/root${path}`,
    `/proc/1/root${path}`,
    `/proc/self/cwd/${up}${path.slice(1)}`,
    `file://${path}`,
    `${path}\0.txt`,
    `/workspace/${"a/../".repeat(900)}..${path}`,
  ];
}

async function readAll(hand: TargetHand, paths: readonly string[], canary: string): Promise<Finding> {
  for (const path of paths) {
    const { content, isError } = await hand.call("read", { file_path: path });
    if (content.includes(canary) && !isError) return { escaped: true, evidence: `read ${path.slice(0, 80)}` };
  }
  return { escaped: false, evidence: `${paths.length} spellings, each an error` };
}

/** A file tool of the host that trusts paths: what ours would be if it worked outside of hands. */
function trusting(path: string, canary: string, spell: readonly string[]): Finding {
  const found = spell.filter((one) => {
    try {
      return readFileSync(join("/", one), "utf8").includes(canary);
    } catch {
      return false;
    }
  });
  return { escaped: found.length > 0, evidence: `${found.length} spellings of ${path} lead there` };
}

const PROTECTED = [
  "/etc/attacked",
  "/usr/attacked",
  "/.manyhands/journal/1.op",
  "/.manyhands/run/s1",
  "/.manyhands/bin/hand-agent",
];
const SWAPS = 60;

/** File tools, archives and links. */
export const fileProbes: readonly Probe[] = [
  {
    name: "path traversal in read",
    fast: true,
    on: ["runc", "runsc", "bubblewrap", "virtual"],
    attack: ({ attacker }) => withHostFile((path, canary) => readAll(attacker, spellings(path), canary)),
    control: () => withHostFile(async (path, canary) => trusting(path, canary, spellings(path))),
  },
  {
    name: "symbolic link to a file of the host",
    on: ["runc", "runsc", "bubblewrap", "virtual"],
    attack: ({ attacker }) =>
      withHostFile(async (path, canary) => {
        await attacker.bash(`ln -sfn ${path} /workspace/link; ln -sfn / /workspace/root`);
        return readAll(attacker, ["link", `root${path}`], canary);
      }),
    control: () =>
      withHostFile(async (path, canary) => {
        const folder = mkdtempSync("/tmp/manyhands-links-");
        symlinkSync(path, join(folder, "link"));
        try {
          return trusting(path, canary, [join(folder, "link")]);
        } finally {
          rmSync(folder, { recursive: true });
        }
      }),
  },
  {
    name: "write into system, journal and agent",
    fast: true,
    async attack({ attacker }) {
      const wrote: string[] = [];
      for (const path of PROTECTED) {
        const { isError } = await attacker.call("write", { file_path: path, content: "attacked" });
        if (!isError) wrote.push(path);
      }
      return {
        escaped: wrote.length > 0,
        evidence: wrote.length > 0 ? `wrote ${wrote}` : `${PROTECTED.length} places, each refused`,
      };
    },
    async control() {
      const script = PROTECTED.map(
        (path) => `mkdir -p $(dirname ${path}); echo x > ${path} && echo ESCAPED wrote ${path}`,
      ).join("; ");
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
  {
    name: "swap of a folder for a link during writes",
    attack: ({ attacker }) => swapDuringWrites(attacker),
    async control() {
      const script =
        "mkdir -p /w/real; i=0; while [ $i -lt 50 ]; do rm -rf /w/swap; ln -sfn /usr /w/swap; echo x > /w/swap/attacked-0; i=$((i+1)); done; test -e /usr/attacked-0 && echo ESCAPED a writer with rights follows the link";
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
  {
    name: "archive with names that climb",
    async attack({ attacker }) {
      return attacker.python(["lying_zip", "/workspace", "1000"]);
    },
    async control() {
      return judge(
        await undefendedOutput(["--network", "none"], ["python3", "/attacks/inside.py", "lying_zip", "/tmp", "1000"]),
      );
    },
  },
  {
    name: "hooks and settings that the host might run",
    async attack({ attacker }) {
      const mark = mkdtempSync("/tmp/manyhands-hook-");
      const hook = `#!/bin/sh\\necho ran > ${mark}/ran 2>/dev/null; touch ${mark}/ran`;
      await attacker.bash(
        `rm -rf h; git init -q h 2>/dev/null; mkdir -p h/.git/hooks; for n in post-checkout post-merge pre-commit; do printf '${hook}' > h/.git/hooks/$n; chmod +x h/.git/hooks/$n; done; printf '${hook}' > ~/.bashrc; cp ~/.bashrc ~/.profile`,
      );
      await attacker.call("glob", { pattern: "**/*", path: "h" });
      await attacker.call("read", { file_path: "h/.git/config" });
      await attacker.bash("true");
      await attacker.call("bash", { restart: true });
      await attacker.bash("cd h && git -c user.name=a -c user.email=b@c commit -q --allow-empty -m x; true");
      const ran = existsSync(join(mark, "ran"));
      rmSync(mark, { recursive: true });
      return {
        escaped: ran,
        evidence: ran ? "a hook of the hand ran on the host" : "no hook of the hand ran on the host",
      };
    },
    async control() {
      const mark = mkdtempSync("/tmp/manyhands-hook-");
      writeFileSync(join(mark, "hook"), `#!/bin/sh\ntouch ${mark}/ran\n`, { mode: 0o755 });
      const { execFileSync } = await import("node:child_process");
      execFileSync(join(mark, "hook"));
      const ran = existsSync(join(mark, "ran"));
      rmSync(mark, { recursive: true });
      return { escaped: ran, evidence: "the same hook leaves its mark when the host runs it" };
    },
  },
];

/** A loop inside turns a folder into a link to a protected place and back, while the file tool writes through it. */
async function swapDuringWrites(hand: TargetHand): Promise<Finding> {
  await hand.bash(
    "rm -rf swap real; mkdir -p real; (i=0; while [ $i -lt 4000 ]; do ln -sfn real swap.n; mv -T swap.n swap; ln -sfn /usr swap.n; mv -T swap.n swap; ln -sfn /.manyhands/run swap.n; mv -T swap.n swap; i=$((i+1)); done; touch swapped) >/dev/null 2>&1 &",
  );
  let through = 0;
  for (let i = 0; i < SWAPS; i++) {
    const { isError } = await hand.call("write", { file_path: `swap/attacked-${i}`, content: "attacked" });
    if (!isError) through++;
  }
  const { content } = await hand.bash("ls /usr /.manyhands/run 2>/dev/null | grep -c attacked-; ls real | wc -l");
  const [outside = "?", inside = "?"] = content.trim().split("\n");
  return {
    escaped: outside !== "0",
    evidence: `${SWAPS} writes, ${through} done, ${inside} in the hand's folder, ${outside} outside`,
  };
}
