import { parseArgs } from "node:util";
import { z } from "zod";
import { bubblewrapForTests } from "../bubblewrap.ts";
import { engineForTests } from "../docker-install.ts";
import { gvisorForAttacks } from "../gvisor.ts";
import { ensureHandAgent } from "../hand-agent.ts";
import { ensureHandImage } from "../hand-image.ts";
import { loadSuite } from "../load-suite.ts";
import { stderrProgress } from "../progress.ts";
import { messageOf, SetupError } from "../setup-error.ts";
import { onStopSignal } from "../stop-signal.ts";

const report = z.looseObject({
  total: z.number(),
  contained: z.number(),
  rows: z.array(z.object({ name: z.string(), runtime: z.string(), outcome: z.string(), evidence: z.string() })),
  absent: z.record(z.string(), z.string()),
  not_isolated: z.record(z.string(), z.array(z.string())),
});
type Report = z.infer<typeof report>;

const kinds = ["runc", "runsc", "bubblewrap", "virtual"];

/** `npm run attacks`: attacks hands of every kind from inside. Exit code 1 unless every attack is contained. */
export async function attacks(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "boolean", default: false },
      fast: { type: "boolean", default: false },
      only: { type: "string" },
      runtimes: { type: "string", default: kinds.join(",") },
      "no-install": { type: "boolean", default: false },
    },
  });
  const runtimes = values.runtimes.split(",").filter((name) => name !== "");
  const wrong = runtimes.filter((name) => !kinds.includes(name));
  if (wrong.length > 0 || runtimes.length === 0)
    throw new SetupError(`--runtimes: ${wrong.join(", ") || "empty"}`, { advice: `There are ${kinds.join(", ")}.` });
  const mayInstall = !values["no-install"];
  const stopped = new AbortController();
  onStopSignal((signal) => {
    stderrProgress(`${signal}: cleaning up`);
    stopped.abort(new SetupError(`stopped by ${signal}`, { advice: "Nothing is left behind." }));
  });
  const { engine, stop } = await engineForTests(mayInstall, stderrProgress);
  try {
    const { image } = await ensureHandImage(engine.docker, stderrProgress);
    process.env.MH_HAND_IMAGE = image;
    const agent = await ensureHandAgent();
    if (runtimes.includes("bubblewrap"))
      await bubblewrapForTests(mayInstall, stderrProgress).catch((error: unknown) => stderrProgress(messageOf(error)));
    const gvisor = runtimes.includes("runsc")
      ? await gvisorForAttacks(engine.docker, image, mayInstall, stderrProgress)
      : undefined;
    if (gvisor?.problem !== undefined) stderrProgress(`gVisor: ${gvisor.problem}`);
    try {
      const run = await loadSuite("attacks/attacks.ts", "runAttacks");
      const { fast, only } = values;
      const options = { agent, runtimes, fast, signal: stopped.signal, progress: stderrProgress };
      const result = report.parse(await run({ ...options, ...(only === undefined ? {} : { only }) }));
      process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : attackTable(result));
      return result.contained === result.total && result.total > 0 ? 0 : 1;
    } finally {
      await gvisor?.restore();
    }
  } finally {
    await stop();
  }
}

/** The report as people read it. */
export function attackTable({ rows, total, contained, absent, not_isolated: gaps }: Report): string {
  const width = (field: "name" | "runtime" | "outcome") => Math.max(0, ...rows.map((row) => row[field].length));
  const [runtime, name, outcome] = [width("runtime"), width("name"), width("outcome")];
  const lines = rows.map(
    (row) =>
      `${row.runtime.padEnd(runtime)}  ${row.name.padEnd(name)}  ${row.outcome.padEnd(outcome)}  ${row.evidence.replaceAll("\n", " ")}`,
  );
  const missing = Object.entries(absent).map(([kind, why]) => `${kind}: not attacked, ${why}`);
  const open = Object.entries(gaps).flatMap(([kind, words]) =>
    words.map((word) => `${kind} does not isolate: ${word}`),
  );
  return `${[...lines, ...open, ...missing, `${contained}/${total} contained`].join("\n")}\n`;
}
