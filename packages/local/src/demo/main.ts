import { randomBytes } from "node:crypto";
import Anthropic from "@anthropic-ai/sdk";
import { type GitServer, startGitServer } from "@manyhands/testkit";
import { SetupError } from "../setup-error.ts";
import { killBubblewrap } from "./bubblewrap-of-session.ts";
import { followTurn, type Turn } from "./follow.ts";
import { killContainers } from "./hands-of-session.ts";
import { createJob, type DemoJob, repositoryFiles } from "./job.ts";
import { type Kill, Killer } from "./killer.ts";
import { type DemoOptions, demoHelp, parseDemoOptions } from "./options.ts";
import { EventPrinter } from "./print-event.ts";
import { type DemoTarget, findTarget } from "./target.ts";
import { type Check, checkCredential, checkOperations, checkPushed, readLog } from "./verify.ts";

const write = (text: string) => process.stdout.write(text);

/** `npm run demo`: one real session from task to pushed fix; answers the exit code. */
export async function runDemo(args: readonly string[]): Promise<number> {
  const options = parseDemoOptions(args);
  if (options === "help") {
    write(demoHelp);
    return 0;
  }
  const target = await findTarget(options);
  const token = `demo-${randomBytes(18).toString("hex")}`;
  try {
    await using git = await startGitServer({ repositories: repositoryFiles, token, host: options.gitHost });
    return await runJob(options, target, git, token);
  } finally {
    await target.stop();
  }
}

async function runJob(options: DemoOptions, target: DemoTarget, git: GitServer, token: string): Promise<number> {
  const client = new Anthropic({ baseURL: target.url, apiKey: target.apiKey, maxRetries: 2 });
  const printer = new EventPrinter(write);
  write(`Running on ${target.description}.\n`);
  const job = await createJob(client, { git, token, hands: target.hands, name: randomBytes(4).toString("hex") });
  write(`Session ${job.sessionId}. Task: ${job.task}\n`);
  if (target.hands === "virtual")
    write("Virtual hands have neither git nor python: clone, commit and push are left out.\n");
  write("\n");
  const killer = new Killer(options.kill ? plannedKills(target, job) : []);
  const turn = await followTurn(client, { ...job, killer, printer, timeoutMs: options.timeoutMs });
  const checks = await runChecks({ client, target, git, token, job, turn, killer });
  write(summary(turn, checks, killer));
  return checks.every((check) => check.ok) ? 0 : 1;
}

function plannedKills(target: DemoTarget, job: DemoJob): Kill[] {
  const { killHarness, killManagers } = target;
  if (killHarness === undefined || killManagers === undefined) {
    throw new SetupError("--kill works on a platform that the demo starts itself", { advice: "Leave out --url." });
  }
  const killSandbox = async () => {
    if (target.hands === "virtual") return killManagers();
    const killed =
      target.hands === "bubblewrap"
        ? killBubblewrap(target.handsDir, job.sessionId)
        : await killContainers(job.sessionId);
    if (killed === 0) throw new SetupError("no sandbox to kill", { advice: "" });
  };
  return [
    { victim: "harness", atToolUse: 2, run: killHarness },
    { victim: "sandbox", atToolUse: 5, run: killSandbox },
  ];
}

interface Finished {
  client: Anthropic;
  target: DemoTarget;
  git: GitServer;
  token: string;
  job: DemoJob;
  turn: Turn;
  killer: Killer;
}

async function runChecks({ client, target, git, token, job, turn, killer }: Finished): Promise<Check[]> {
  const log = await readLog(client, job.sessionId);
  const checks: Check[] = [
    { what: "the turn ended by itself", ok: turn.stopReason === "end_turn", detail: turn.stopReason },
    checkOperations(log),
  ];
  if (target.hands !== "virtual") {
    checks.push(await checkPushed(git), await checkCredential(job.sessionId, token, log, target.handsDir));
  } else {
    const seen = JSON.stringify(log).includes(token);
    const detail = "virtual hands have no process or file of the host; the log was searched";
    checks.push({ what: `credential seen by sandbox: ${seen ? "YES" : "no"}`, ok: !seen, detail });
  }
  if (!killer.finished)
    checks.push({ what: "every planned kill happened", ok: false, detail: "the job ended too early" });
  return checks;
}

function summary(turn: Turn, checks: readonly Check[], killer: Killer): string {
  const killed = killer.done.length === 0 ? [] : [`  killed with SIGKILL   ${killer.done.join(", then ")}`];
  const lines = [
    "",
    "Summary",
    `  tokens                ${turn.inputTokens} in, ${turn.outputTokens} out`,
    `  tool calls            ${turn.toolCalls}`,
    `  time to first token   ${turn.firstTokenMs.toFixed(0)} ms`,
    `  whole job             ${turn.seconds.toFixed(1)} s`,
    ...killed,
    ...checks.map((check) => `  ${check.ok ? "ok    " : "FAILED"} ${check.what} (${check.detail})`),
    "",
  ];
  return lines.join("\n");
}
