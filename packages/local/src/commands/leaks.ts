import { parseArgs } from "node:util";
import { z } from "zod";
import { engineForTests } from "../docker-install.ts";
import { ensureHandImage } from "../hand-image.ts";
import { loadSuite } from "../load-suite.ts";
import { ensureNatsServer } from "../nats-server.ts";
import { stderrProgress } from "../progress.ts";
import { stopPlatformsOnSignal } from "../running-platforms.ts";

const report = z.object({
  canaries: z.number(),
  places_swept: z.number(),
  bytes_swept: z.number(),
  hits: z.number(),
  selftest_places_found: z.number(),
  selftest_places_missed: z.array(z.string()),
  rows: z.array(
    z.object({
      place: z.string(),
      bytes: z.number(),
      hits: z.number(),
      where: z.array(z.string()),
      selftest_found: z.boolean(),
    }),
  ),
});
type Report = z.infer<typeof report>;

/** `npm run leaks`: looks for planted credentials everywhere but in the vault. Exit code 1 on one hit, or on a blind spot. */
export async function leaks(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: "boolean", default: false }, "no-install": { type: "boolean", default: false } },
  });
  stopPlatformsOnSignal();
  process.env.NATS_SERVER_BIN = (await ensureNatsServer(stderrProgress)).path;
  const { engine, stop } = await engineForTests(!values["no-install"], stderrProgress);
  try {
    await ensureHandImage(engine.docker, stderrProgress);
    const run = await loadSuite("leaks/leaks.ts", "runLeaks");
    const result = report.parse(await run({ progress: stderrProgress }));
    process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : leaksTable(result));
    return result.hits === 0 && result.selftest_places_found === result.places_swept ? 0 : 1;
  } finally {
    await stop();
  }
}

/** The report as people read it. */
export function leaksTable({ rows, ...sums }: Report): string {
  const width = Math.max(...rows.map(({ place }) => place.length));
  const lines = rows.map(({ place, bytes, hits, selftest_found: found }) => {
    const size = `${(bytes / 1024 / 1024).toFixed(1)} MiB`.padStart(12);
    return `${place.padEnd(width)} ${size}  ${hits} hits  self-test leak ${found ? "found" : "NOT FOUND: blind here"}`;
  });
  const where = rows.flatMap((row) => row.where.map((text) => `LEAK: ${text}`));
  const { canaries, places_swept: places, hits, selftest_places_found: found } = sums;
  const sum = `${canaries} credentials, ${places} places, ${hits} hits; the self-test's leak was found in ${found} of ${places}`;
  return `${[...lines, ...where, sum].join("\n")}\n`;
}
