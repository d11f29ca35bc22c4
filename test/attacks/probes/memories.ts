import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { undefendedOutput } from "../control.ts";
import { type Finding, judge } from "../judge.ts";
import { RULE } from "../planted-stores.ts";
import type { Probe } from "../probe.ts";
import type { Target } from "../target.ts";
import { withHostFile } from "./secrets.ts";

const EVERYWHERE = ["runc", "runsc", "bubblewrap", "virtual"] as const;
const NOTES = "/mnt/memory/notes";
const RULES = "/mnt/memory/rules";
const SWAPS = 20;
const FLOOD_FILES = 20_000;

/** A command that prints what lies in folders; gVisor's older versions know too few calls for `ls`. */
const namesIn = (...folders: string[]) =>
  `for f in ${folders.map((folder) => `${folder}/* ${folder}/.[!.]*`).join(" ")}; do [ -e "$f" ] && echo "\${f##*/}"; done; true`;

/** Ways to change a file that somebody else placed; each ends where it fails. */
const CHANGES = [
  `echo x > ${RULES}/rule.md`,
  `echo x >> ${RULES}/rule.md`,
  `chmod 777 ${RULES}/rule.md ${RULES}; echo x > ${RULES}/rule.md`,
  `rm -rf ${RULES}`,
  `mv ${RULES} /mnt/memory/gone`,
  `mv ${NOTES} ${RULES}`,
  `echo x > ${NOTES}/rule.md; mv ${NOTES}/rule.md ${RULES}/rule.md`,
  `ln ${RULES}/rule.md ${NOTES}/hard; echo x > ${NOTES}/hard; rm -f ${NOTES}/hard`,
  `ln -s ${RULES}/rule.md ${NOTES}/soft; echo x > ${NOTES}/soft; rm -f ${NOTES}/soft`,
  `mkdir ${RULES}/new; echo x > ${RULES}/new/x`,
  `cp ${NOTES}/note.md ${RULES}/new.md`,
];

/** Memory stores in hands. */
export const memoryProbes: readonly Probe[] = [
  {
    name: "change of memories that may only be read",
    fast: true,
    on: EVERYWHERE,
    attack: changeRules,
    async control() {
      const script = `mkdir -p ${RULES} ${NOTES}; echo rule > ${RULES}/rule.md; chmod 444 ${RULES}/rule.md; echo x > ${RULES}/rule.md && echo ESCAPED a writer with rights changes it`;
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
  {
    name: "links in a memory folder, for what is kept and what is brought",
    fast: true,
    on: EVERYWHERE,
    attack: (target) => withHostFile((path, canary) => linkOut(target, path, canary)),
    control: () => withHostFile(async (path, canary) => followingSync(path, canary)),
  },
  {
    name: "swap of a memory folder for a link while memories are brought",
    attack: swapWhileBrought,
    async control() {
      const script =
        "mkdir -p /w/real; i=0; while [ $i -lt 50 ]; do rm -rf /w/swap; ln -sfn /usr /w/swap; echo x > /w/swap/attacked-0; i=$((i+1)); done; test -e /usr/attacked-0 && echo ESCAPED a writer with rights follows the link";
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
  {
    name: "memory paths that climb",
    on: EVERYWHERE,
    attack: climb,
    async control() {
      const folder = mkdtempSync("/tmp/manyhands-climb-");
      try {
        mkdirSync(join(folder, "notes"));
        writeFileSync(join(folder, "notes", "../climbed.md"), "x");
        return { escaped: readFileSync(join(folder, "climbed.md"), "utf8") === "x", evidence: "a joined path climbs" };
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  },
  {
    name: "memories of another session",
    on: EVERYWHERE,
    attack: reachForeign,
    async control() {
      const script = `mkdir -p /mnt/memory/foreign; echo x > /mnt/memory/foreign/secret.md && echo ESCAPED in one file system everybody reaches it`;
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
  {
    name: "flood of a memory folder",
    exhausts: true,
    attack: flood,
    async control() {
      const script = `mkdir -p ${NOTES}; cd ${NOTES}; seq ${FLOOD_FILES} | xargs touch; [ $(ls | wc -l) -eq ${FLOOD_FILES} ] && echo ESCAPED all of them are there`;
      return judge(await undefendedOutput(["--network", "none"], ["sh", "-c", script]));
    },
  },
];

async function changeRules({ noter, stores }: Target): Promise<Finding> {
  for (const change of CHANGES) {
    await noter.bash(change);
    const { content } = await noter.call("read", { file_path: `${RULES}/rule.md` });
    const listed = (await noter.bash(namesIn(RULES))).content.trim();
    if (!content.includes(RULE.trim()) || listed !== "rule.md")
      return { escaped: true, evidence: `${change}: ${content.trim().slice(0, 100)}; ${listed}` };
  }
  await noter.call("write", { file_path: `${RULES}/rule.md`, content: "x" });
  const isChanged = stores.rules.size !== 1 || stores.rules.get("/rule.md") !== RULE;
  return { escaped: isChanged, evidence: `${CHANGES.length + 1} ways; folder and store are as they were` };
}

/** What lies behind a link must not come into the store, and what comes from the store must not go through a link. */
async function linkOut({ noter, stores, runtime }: Target, hostFile: string, canary: string): Promise<Finding> {
  const targets = [hostFile, "/.manyhands", "/proc/1/environ", "/proc/self/environ", "/etc/passwd", `${RULES}/rule.md`];
  const links = targets.map((target, index) => `ln -sfn ${target} ${NOTES}/link-${index}`).join("; ");
  await noter.bash(
    `${links}; ln -sfn / ${NOTES}/whole; ln -sfn ${RULES} ${NOTES}/folder; echo mine > /workspace/mine; ln -sfn /workspace/mine ${NOTES}/out`,
  );
  stores.notes.set("/out", "of others");
  stores.notes.set("/folder/rule.md", "of others");
  stores.notes.set("/whole/workspace/brought.md", "of others");
  const { content } = await noter.bash(`echo > ${NOTES}/again.md; cat /workspace/mine ${RULES}/rule.md`);
  const isKept = stores.notes.has("/again.md");
  for (const path of ["/out", "/folder/rule.md", "/whole/workspace/brought.md"]) stores.notes.delete(path);
  await noter.bash(`rm -f ${NOTES}/link-* ${NOTES}/whole ${NOTES}/folder ${NOTES}/out ${NOTES}/again.md`);
  if (!isKept) return { escaped: undefined, evidence: "nothing of the folder was kept" };
  const carried = [...stores.notes].filter(
    ([path, text]) => /link-|whole|folder|out/.test(path) || text.includes(canary),
  );
  const isThrough = !content.startsWith("mine\n") || !content.includes(RULE.trim());
  return {
    escaped: carried.length > 0 || isThrough,
    evidence:
      carried.length > 0
        ? `carried out: ${carried[0]?.[0]}`
        : `${targets.length + 3} links on ${runtime}, none followed`,
  };
}

/** What keeps folders the same by following links, as a naive tool of the host would. */
function followingSync(path: string, canary: string): Finding {
  const folder = mkdtempSync("/tmp/manyhands-links-");
  symlinkSync(path, join(folder, "note.md"));
  try {
    const kept = readFileSync(join(folder, "note.md"), "utf8");
    return { escaped: kept.includes(canary), evidence: "a sync that follows links carries the file out" };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function swapWhileBrought({ noter, stores }: Target): Promise<Finding> {
  await noter.bash(
    `cd ${NOTES}; mkdir -p real; (i=0; while [ $i -lt 4000 ]; do ln -sfn real swap.n; mv -T swap.n swap; ln -sfn /usr swap.n; mv -T swap.n swap; ln -sfn ${RULES} swap.n; mv -T swap.n swap; rm -f swap; mkdir -p swap; rm -rf swap; i=$((i+1)); done) >/dev/null 2>&1 & echo $! > /tmp/swapper`,
  );
  for (let n = 0; n < SWAPS; n++) {
    stores.notes.set(`/swap/attacked-${n}`, "attacked");
    await noter.bash(`echo ${n} > ${NOTES}/n.md`);
  }
  const { content } = await noter.bash(
    `kill $(cat /tmp/swapper); (${namesIn("/usr", RULES)}) | grep -c attacked-; cat ${RULES}/rule.md`,
  );
  const isKept = stores.notes.get("/n.md") === `${SWAPS - 1}\n`;
  for (let n = 0; n < SWAPS; n++) stores.notes.delete(`/swap/attacked-${n}`);
  await noter.bash(`rm -rf ${NOTES}/swap* ${NOTES}/real ${NOTES}/n.md /workspace/.memory-conflicts`);
  if (!isKept) return { escaped: undefined, evidence: "nothing of the folder was kept meanwhile" };
  const isRight = content.startsWith("0\n") && content.includes(RULE.trim()) && stores.rules.size === 1;
  return { escaped: !isRight, evidence: `${SWAPS} memories brought; outside: ${content.split("\n")[0]}` };
}

/** Paths as session-store refuses them, from a store that does not. */
async function climb({ noter, stores }: Target): Promise<Finding> {
  const paths = [
    "/../climbed.md",
    "/a/../../climbed.md",
    "/../../../workspace/climbed.md",
    "/../rules/climbed.md",
    "//climbed.md",
  ];
  for (const path of paths) stores.notes.set(path, "climbed");
  await noter.release();
  const look = namesIn("/mnt", "/mnt/memory", RULES, "/workspace", "");
  const made = (await noter.bash(look)).content;
  const brought = (await noter.bash(`echo > ${NOTES}/again.md; ${look}`)).content;
  for (const path of paths) stores.notes.delete(path);
  await noter.bash(`rm -f ${NOTES}/again.md`);
  const seen = `${made}${brought}`.split("\n").filter((line) => line.trim() === "climbed.md");
  if (!made.includes("rule.md") || !brought.includes("rule.md"))
    return { escaped: undefined, evidence: `the folders cannot be looked at: ${made.slice(0, 200)}` };
  return { escaped: seen.length > 0, evidence: `${paths.length} paths, ${seen.length} outside of the folder` };
}

/** Another store by its name, forged notes about what was agreed on, and a look from another session's hand. */
async function reachForeign({ noter, neighbour, stores }: Target): Promise<Finding> {
  const token = `token${Date.now()}`;
  await noter.bash(
    `echo ${token} > ${NOTES}/mine.md; mkdir /mnt/memory/foreign; echo x > /mnt/memory/foreign/secret.md; echo '{"/secret.md":"x"}' > /mnt/memory/.agreed/foreign; echo '{}' > /mnt/memory/.agreed/notes; mv /mnt/memory/.agreed /mnt/memory/old`,
  );
  const { content } = await neighbour.bash(
    `${namesIn("/mnt/memory")}; (grep -r ${token} /mnt; for p in /proc/[0-9]*/root; do grep -r ${token} $p/mnt; done) 2>/dev/null | head -3`,
  );
  const own = (await noter.bash(namesIn("/mnt/memory"))).content.trim().split("\n").sort().join(" ");
  await noter.bash(`rm -f ${NOTES}/mine.md`);
  const isForeign = stores.foreign.size !== 1 || stores.foreign.get("/secret.md") !== "a secret of others\n";
  const isRight = own === ".agreed notes rules" && !content.includes(token) && !isForeign;
  return { escaped: !isRight, evidence: `neighbour sees ${content.trim() || "nothing"}; own folders: ${own}` };
}

async function flood({ noter, stores }: Target): Promise<Finding> {
  const before = stores.notes.size;
  const { content } = await noter.bash(
    `mkdir ${NOTES}/flood; cd ${NOTES}/flood; seq ${FLOOD_FILES} | xargs touch; head -c 100m /dev/zero > large; cd /; true`,
    60_000,
  );
  const during = stores.notes.size;
  const after = await noter.bash(`rm -rf ${NOTES}/flood; echo alive`);
  const again = await noter.bash(`echo kept > ${NOTES}/kept.md`);
  const isKept = stores.notes.get("/kept.md") === "kept\n";
  stores.notes.delete("/kept.md");
  return {
    escaped: during !== before || !after.content.includes("alive") || !isKept || again.lost,
    evidence: `${during - before} of ${FLOOD_FILES} files in the store; ${content.trim().slice(-160)}; afterwards kept: ${isKept}`,
  };
}
