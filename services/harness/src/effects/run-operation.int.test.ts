import { create } from "@bufbuild/protobuf";
import type { Call } from "@manyhands/core";
import {
  AppError,
  createLifecycle,
  createRpcClient,
  createRpcServer,
  implement,
  type Lifecycle,
  type RpcClient,
  silentLogger,
  systemClock,
} from "@manyhands/kit";
import { OperationResultSchema, Outcome, SandboxService } from "@manyhands/protocol";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Operation, type OperationEnd, runOperation } from "./run-operation.ts";

/** What a sandbox service says next, over real gRPC: a result, an error, or a stream that ends without either. */
type Answer = { outcome: Outcome; content?: string; handLost?: boolean } | AppError | "ends" | "hangs";

let answers: { execute: Answer[]; attach: Answer[] };
let calls: string[];
let lifecycle: Lifecycle;
let sandboxes: RpcClient<typeof SandboxService>;

beforeEach(async () => {
  answers = { execute: [], attach: [] };
  calls = [];
  lifecycle = createLifecycle({ logger: silentLogger(), drainMs: 500 });
  const say = async function* (method: "execute" | "attach", signal: AbortSignal) {
    calls.push(method);
    const answer = answers[method].shift() ?? "hangs";
    yield { item: { case: "started" as const, value: { attached: method === "attach" } } };
    if (answer === "ends") return;
    if (answer === "hangs") await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    else if (answer instanceof AppError) throw answer;
    else yield { item: { case: "result" as const, value: create(OperationResultSchema, answer) } };
  };
  const service = implement(SandboxService, {
    execute: (_, { signal }) => say("execute", signal),
    attach: (_, { signal }) => say("attach", signal),
    cancelOperation: async () => {
      calls.push("cancel");
      return { outcome: Outcome.UNKNOWN };
    },
  });
  const logger = silentLogger();
  const { address } = await createRpcServer({ listen: "127.0.0.1:0", services: [service], logger, lifecycle });
  sandboxes = createRpcClient(SandboxService, { address, defaultDeadlineMs: 5_000 });
});
afterEach(async () => {
  sandboxes.close();
  await lifecycle.stop("the test ended");
});

const call: Call = {
  id: "sevt_c1",
  kind: "agent",
  name: "bash",
  input: { command: "ls" },
  ordinal: 1,
  progress: { at: "dispatched", handId: "hand_1", epoch: 1, attempt: 1 },
};

function run(mode: Operation["mode"], more: Partial<Operation> = {}): Promise<OperationEnd> {
  return runOperation(
    { sandboxes, pass: () => undefined, clock: systemClock },
    {
      call,
      handId: "hand_1",
      epoch: 1,
      attempt: 1,
      mode,
      timeoutMs: 5_000,
      maxAttempts: 3,
      outputBytes: 1_000,
      detach: new AbortController().signal,
      cancel: new AbortController().signal,
      ...more,
    },
  );
}

function result(end: OperationEnd): unknown {
  return end.type === "answered" ? end.events.at(-1) : end.type;
}

it("answers with what the operation wrote", async () => {
  answers.execute = [{ outcome: Outcome.COMPLETED, content: "done" }];
  expect(result(await run("start"))).toMatchObject({
    outcome: "COMPLETED",
    is_error: false,
    content: [{ text: "done" }],
  });
  expect(calls).toEqual(["execute"]);
});

it.each([
  ["unavailable", AppError.unavailable("GONE", "the connection broke")],
  ["internal", AppError.internal(new Error("bug"))],
  ["a stream that just ends", "ends"],
] as const)("follows, and never sends again, after %s", async (_, failure) => {
  answers = { execute: [failure], attach: [failure, { outcome: Outcome.COMPLETED, content: "found" }] };
  expect(result(await run("start"))).toMatchObject({ outcome: "COMPLETED", content: [{ text: "found" }] });
  expect(calls).toEqual(["execute", "attach", "attach"]);
});

it("sends again, under the same id, while the sandbox service is without its bus", async () => {
  const away = AppError.unavailable("BUS_UNAVAILABLE", "NATS is away; nothing was sent");
  answers.execute = [away, away, { outcome: Outcome.COMPLETED, content: "done" }];
  expect(result(await run("start"))).toMatchObject({ outcome: "COMPLETED", content: [{ text: "done" }] });
  expect(calls).toEqual(["execute", "execute", "execute"]);
});

it("does not begin it any more when the user interrupts while the bus is away", async () => {
  const away = AppError.unavailable("BUS_UNAVAILABLE", "NATS is away; nothing was sent");
  answers = { execute: [away, { outcome: Outcome.COMPLETED, content: "done" }], attach: [away] };
  const end = await run("start", { cancel: AbortSignal.abort() });
  expect(result(end)).toMatchObject({ outcome: "UNKNOWN", is_error: true });
  expect(calls.filter((call) => call === "execute")).toHaveLength(1);
});

it("takes a refusal for no proof once the bus was away: the call before it may have been accepted", async () => {
  const away = AppError.unavailable("BUS_UNAVAILABLE", "NATS closed the connection");
  const lost = new AppError("fenced", { reason: "HAND_LOST", message: "the container died" });
  answers = { execute: [away, lost], attach: [{ outcome: Outcome.UNKNOWN }] };
  expect(result(await run("start"))).toMatchObject({ outcome: "UNKNOWN", is_error: true });
  expect(calls).toEqual(["execute", "execute", "attach"]);
});

it("asks to send again only on proof that nothing started, and only so often", async () => {
  answers.attach = [{ outcome: Outcome.NOT_STARTED }, { outcome: Outcome.NOT_STARTED }];
  expect(result(await run("follow"))).toBe("sendAgain");
  expect(result(await run("follow", { attempt: 3 }))).toMatchObject({ outcome: "NOT_STARTED", is_error: true });
  expect(calls).toEqual(["attach", "attach"]);
});

it("does not take for proof that what it sent without an answer has not started yet: it may still do so", async () => {
  answers = { execute: [AppError.unavailable("UNAVAILABLE", "cut")], attach: [{ outcome: Outcome.NOT_STARTED }] };
  expect(result(await run("start", { attempt: 3 }))).toMatchObject({ outcome: "UNKNOWN", is_error: true });
  expect(calls).toEqual(["execute", "attach"]);
});

it("says unknown as unknown, and advises to verify", async () => {
  answers.attach = [{ outcome: Outcome.UNKNOWN }];
  const end = await run("follow");
  expect(result(end)).toMatchObject({ outcome: "UNKNOWN", is_error: true });
  expect(JSON.stringify(end)).toContain("Verify");
});

it("keeps following while it still runs", async () => {
  answers.attach = [
    { outcome: Outcome.RUNNING },
    { outcome: Outcome.RUNNING },
    { outcome: Outcome.COMPLETED, content: "x" },
  ];
  expect(result(await run("follow"))).toMatchObject({ outcome: "COMPLETED" });
});

it("tells a lost hand: not run where refused at the door, unknown where it was sent", async () => {
  const lost = new AppError("fenced", { reason: "HAND_LOST", message: "the container died" });
  answers = { execute: [lost], attach: [lost] };
  const refused = await run("start");
  expect(refused).toMatchObject({
    events: [{ type: "hand.lost", reason: "the container died" }, { outcome: "NOT_STARTED" }],
  });
  expect(await run("follow")).toMatchObject({ events: [{ type: "hand.lost" }, { outcome: "UNKNOWN" }] });
});

it("stops at once when a newer brain holds the session", async () => {
  answers.execute = [AppError.fenced("a newer epoch holds the session")];
  await expect(run("start")).rejects.toMatchObject({ kind: "fenced", reason: "FENCED" });
});

it("passes the sandbox's refusal of an input on as a result", async () => {
  answers.execute = [AppError.invalid([{ field: "command", description: "is required" }])];
  expect(result(await run("start"))).toMatchObject({ outcome: "NOT_STARTED", is_error: true });
});

it("comes to an end within a second when the user interrupts and nobody answers", async () => {
  const cancel = new AbortController();
  const running = run("start", { cancel: cancel.signal });
  const startedMs = performance.now();
  cancel.abort();
  expect(result(await running)).toMatchObject({ outcome: "UNKNOWN", is_error: true });
  expect(performance.now() - startedMs).toBeLessThan(1_000);
  expect(calls).toContain("cancel");
});

it("lets go without a word when the brain hands the session back", async () => {
  const detach = new AbortController();
  const running = run("start", { detach: detach.signal });
  detach.abort(new Error("handed back"));
  await expect(running).rejects.toThrow("handed back");
  expect(calls).not.toContain("cancel");
});

it("bounds what the model is shown", async () => {
  answers.execute = [{ outcome: Outcome.COMPLETED, content: "x".repeat(50_000) }];
  expect(JSON.stringify(await run("start")).length).toBeLessThan(2_000);
});
