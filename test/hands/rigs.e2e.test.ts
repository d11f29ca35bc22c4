/** The smaller forms of the rigs. The long ones: `npm run hands`. */
import { expect, it } from "vitest";
import type { RigOptions, RigReport } from "../durability/support/rig.ts";
import capacity from "./capacity.rig.ts";
import churn from "./churn.rig.ts";
import forkFiles from "./fork-files.rig.ts";
import managerKill from "./manager-kill.rig.ts";

function run(rig: (options: RigOptions) => Promise<RigReport>, runs: number): Promise<RigReport> {
  return rig({ runs, seed: 20_261_120, signal: new AbortController().signal, progress: () => undefined });
}

it("leaves no container behind when sessions end, crash and are cancelled while managers are killed", async () => {
  const { rows } = await run(churn, 24);
  expect(rows).toMatchObject([{ ok: true, containers_left: 0, hands_of_chats: 0, managers_killed: 1 }]);
});

it("follows 50 running operations to their ends when their manager is killed, and runs none twice", async () => {
  const { rows } = await run(managerKill, 50);
  const none = { wrong_output: 0, other_words_when_attached: 0, run_twice: 0, never_run: 0 };
  expect(rows).toMatchObject([{ ok: true, hands: 4, manager_killed: true, ...none }]);
});

it("refuses the hand beyond its capacity clearly, and gives it the first free place", async () => {
  const { rows } = await run(capacity, 4);
  expect(rows).toMatchObject([{ ok: true, working: 4, next_refused_clearly: true }]);
});

it("gives a new hand at another manager the files of any moment of another hand's history", async () => {
  const { rows } = await run(forkFiles, 10);
  expect(rows).toMatchObject([
    { name: "bubblewrap", ok: true, histories: 10, wrong: [] },
    { name: "docker", ok: true, histories: 1, wrong: [] },
  ]);
});
