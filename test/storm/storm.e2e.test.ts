/** The small form of the storm. The long one: `npm run storm -- --kills 1000 --sessions 100`. */
import { expect, it } from "vitest";
import { runStorm } from "./storm.ts";

process.setMaxListeners(64);

const kills = 100;

it("loses, doubles and repeats nothing while processes are killed at random moments", async () => {
  const { problems, ...report } = await runStorm({
    kills,
    sessions: 8,
    seed: 20_261_120,
    pauseMs: { from: 20, to: 250 }, // most of the time goes into starting what was killed
    measuredEvery: 20,
    signal: new AbortController().signal,
    progress: () => undefined,
  });
  expect(problems).toEqual([]);
  expect(report).toMatchObject({
    ok: true,
    kills,
    sessions: 8,
    events_lost: 0,
    events_duplicated: 0,
    operations_run_twice: 0,
    sessions_stuck: 0,
    sessions_wrong_end: 0,
    contexts_differing: 0,
  });
  expect(report.requests_reasked).toBeGreaterThan(0);
  expect(report.operations).toBeGreaterThan(50);
  expect(report.events_acknowledged).toBeGreaterThan(500);
}, 400_000);
