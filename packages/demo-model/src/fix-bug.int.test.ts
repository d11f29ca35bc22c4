import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDemoModel, type DemoModel, demoRepository, demoShellRepository, FIX_COMMIT_SUBJECT } from "./index.ts";
import { LocalHand } from "./testing/local-hand.ts";
import { runTask } from "./testing/run-task.ts";

const URL = "http://git.example:3000/acme/calculator.git";
const TASK = `Clone ${URL}, run its tests, fix the failing one, commit and push.`;
const GIT = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];

let model: DemoModel;
let client: Anthropic;
let root: string;
let hand: LocalHand;

beforeEach(async () => {
  model = await createDemoModel();
  client = new Anthropic({ baseURL: model.url, apiKey: "any", maxRetries: 0 });
  root = mkdtempSync(join(tmpdir(), "mh-demo-"));
  makeRemote(join(root, "remote.git"));
  // git itself redirects the URL of the task to the bare repository of this test.
  hand = new LocalHand(root, {
    PATH: process.env.PATH,
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: `url.${join(root, "remote.git")}.insteadOf`,
    GIT_CONFIG_VALUE_0: URL,
  });
  await hand.lose();
});

afterEach(async () => {
  await model.close();
  rmSync(root, { recursive: true, force: true });
});

test("clones, tests, fixes, tests, commits and pushes once", async () => {
  const { text, calls } = await runTask(client, hand, TASK);
  expect(text).toContain("Done.");
  expect(text).toMatch(/\([0-9a-f]{40}\)/);
  expect(calls).toBe(8);
  expect(pushedSubjects()).toEqual([FIX_COMMIT_SUBJECT, "Start"]);
  expect(remoteTestsPass()).toBe(true);
});

test.each(Array.from({ length: 8 }, (_, index) => index + 1))(
  "finishes with one pushed commit when the hand is lost before or after call %i",
  async (strike) => {
    for (const fate of ["lost-before", "lost-after"] as const) {
      rmSync(join(root, "remote.git"), { recursive: true });
      makeRemote(join(root, "remote.git"));
      await hand.lose();
      const { text } = await runTask(client, hand, TASK, (call) => (call === strike ? fate : undefined));
      expect(text, fate).toContain("Done.");
      expect(pushedSubjects(), fate).toEqual([FIX_COMMIT_SUBJECT, "Start"]);
    }
  },
  30_000,
);

test("notices a hand that was replaced between two calls", async () => {
  const { text } = await runTask(client, hand, TASK, async (call, used) => {
    if (call === 4) await used.lose();
    return undefined;
  });
  expect(text).toContain("Done.");
  expect(pushedSubjects()).toEqual([FIX_COMMIT_SUBJECT, "Start"]);
});

test("a failure in words it does not know makes it look again, not go on", async () => {
  const keep = hand.execute.bind(hand);
  for (let strike = 1; strike <= 8; strike += 1) {
    rmSync(join(root, "remote.git"), { recursive: true });
    makeRemote(join(root, "remote.git"));
    await hand.lose();
    let calls = 0;
    hand.execute = async (name, input) => {
      calls += 1;
      return calls === strike ? { text: "EHICCUP", isError: true } : keep(name, input);
    };
    const { text } = await runTask(client, hand, TASK);
    expect(text, `call ${strike}`).toContain("Done.");
    expect(pushedSubjects(), `call ${strike}`).toEqual([FIX_COMMIT_SUBJECT, "Start"]);
  }
}, 30_000);

test("a hand that always fails ends in an honest answer", async () => {
  hand.execute = async () => ({ text: "The sandbox was lost.", isError: true });
  const { text, calls } = await runTask(client, hand, TASK);
  expect(text).toContain("could not finish");
  expect(calls).toBeLessThan(20);
});

test("an unknown push that did happen is not repeated", async () => {
  await runTask(client, hand, TASK, (call) => (call === 8 ? "lost-after" : undefined));
  expect(hand.commands.filter((command) => command.includes("git push"))).toHaveLength(1);
});

test("a second task on the repaired repository pushes nothing", async () => {
  await runTask(client, hand, TASK);
  await hand.lose();
  const { text } = await runTask(client, hand, TASK);
  expect(text).toContain("nothing to fix");
  expect(pushedSubjects()).toHaveLength(2);
});

test("says so when the repository cannot be cloned", async () => {
  rmSync(join(root, "remote.git"), { recursive: true });
  const { text } = await runTask(client, hand, TASK);
  expect(text).toContain("could not finish");
});

test("the virtual job needs only bash and the file tools, with and without files already there", async () => {
  const task = "Fix the failing test in /workspace/repo.";
  const first = await runTask(client, hand, task);
  expect(first.text).toContain("Left out, because this hand has no git");
  await hand.lose();
  mkdirSync(join(root, "workspace/repo"), { recursive: true });
  for (const [path, content] of Object.entries(demoShellRepository)) {
    writeFileSync(join(root, "workspace/repo", path), content);
  }
  const second = await runTask(client, hand, task);
  expect(second.calls).toBe(first.calls - 2);
  expect((await hand.execute("bash", { command: "cd /workspace/repo && bash test.sh" })).isError).toBe(false);
});

test("the long task appends each line once although two calls are lost", async () => {
  const task = "Run 6 steps.";
  const unknown = { text: "outcome unknown: it may have completed or not run", isError: true };
  const keep = hand.execute.bind(hand);
  let calls = 0;
  hand.execute = async (name, input) => {
    calls += 1;
    if (calls === 2) return unknown;
    const result = await keep(name, input);
    return calls === 5 ? unknown : result;
  };
  const { text } = await runTask(client, hand, task);
  expect(text).toContain("Finished 6 steps");
  expect((await keep("read", { file_path: "/workspace/log" })).text).toBe(
    "line-1\nline-2\nline-3\nline-4\nline-5\nline-6\n",
  );
});

function makeRemote(path: string): void {
  const work = mkdtempSync(join(root, "seed-"));
  for (const [name, content] of Object.entries(demoRepository)) writeFileSync(join(work, name), content);
  execFileSync("git", ["init", "-q", "--bare", "--initial-branch=main", path]);
  execFileSync("git", ["init", "-q", "--initial-branch=main", work]);
  execFileSync("git", ["-C", work, "add", "."]);
  execFileSync("git", ["-C", work, ...GIT, "commit", "-q", "-m", "Start"]);
  execFileSync("git", ["-C", work, "push", "-q", path, "main"]);
}

function pushedSubjects(): string[] {
  const log = execFileSync("git", ["-C", join(root, "remote.git"), "log", "--format=%s", "main"], { encoding: "utf8" });
  return log.trim().split("\n");
}

function remoteTestsPass(): boolean {
  const check = mkdtempSync(join(root, "check-"));
  execFileSync("git", ["clone", "-q", join(root, "remote.git"), check]);
  execFileSync("python3", ["-m", "unittest", "-q"], { cwd: check, stdio: "pipe" });
  return true;
}
