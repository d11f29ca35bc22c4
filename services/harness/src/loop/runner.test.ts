import { defaultLimits, fold, type NewEvent, type SessionEvent } from "@manyhands/core";
import { AppError, newId, silentLogger, systemClock } from "@manyhands/kit";
import { expect, it } from "vitest";
import { defaultHarness } from "../harness-kinds.ts";
import { Runner } from "./runner.ts";
import type { Append, SessionLog } from "./session-log.ts";
import type { ModelTask, ModelTaskInit, Tasks } from "./tasks.ts";

type Written = { readonly id: string; readonly epoch: number } & NewEvent;

const asking: Written[] = [
  {
    id: "sevt_0",
    epoch: 0,
    type: "session.created",
    workspace_id: "wrkspc_1",
    agent: { model: { id: "demo-1" }, tools: [{ type: "agent_toolset_20260401" }] },
    environment: {},
    title: "",
    metadata: {},
    resources: [],
    vault_ids: [],
    harness_kind: "default",
    budget: null,
  },
  { id: "sevt_1", epoch: 0, type: "user.message", content: [{ type: "text", text: "go" }] },
  {
    id: "sevt_2",
    epoch: 1,
    type: "brain.woken",
    harness_kind: "default",
    harness_version: "1.0.0",
    instance_id: "first",
  },
  { id: "sevt_3", epoch: 1, type: "session.status_running" },
  {
    id: "sevt_4",
    epoch: 1,
    type: "span.model_request_start",
    model: "demo-1",
    context_position: 4,
    attempt: 1,
  },
];

/** What the first brain, which is late with its beats and alive, still stores. */
const answered: Written[] = [
  { id: "sevt_5", epoch: 1, type: "agent.tool_use", name: "bash", input: {}, evaluated_permission: "allow" },
  {
    id: "sevt_6",
    epoch: 1,
    type: "span.model_request_end",
    model_request_start_id: "sevt_4",
    is_error: false,
    model_usage: { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    stop_reason: "tool_use",
    time_to_first_token_ms: 1,
  },
  {
    id: "sevt_7",
    epoch: 1,
    type: "agent.tool_result",
    tool_use_id: "sevt_5",
    content: [{ type: "text", text: "ran" }],
    is_error: false,
    outcome: "COMPLETED",
    hand_id: "hand_1",
  },
];
const message: Written = {
  id: "sevt_5",
  epoch: 0,
  type: "user.message",
  content: [{ type: "text", text: "and hurry" }],
};

/** Runs a second brain until it has announced a request; `before` is stored just before its first append. */
async function announced(before: readonly Written[]) {
  const log: SessionEvent[] = [];
  const store = (events: readonly Written[]) => {
    for (const event of events) log.push({ ...event, position: log.length, at: Date.now() });
  };
  store(asking);
  let late: readonly Written[] = before;
  const shown: number[] = [];
  let task: ModelTask | undefined;
  const tasks: Tasks = {
    inFlight: () => new Set(task === undefined ? [] : ["model"]),
    model: () => task,
    callModel({ start, request }: ModelTaskInit) {
      shown.push(request.messages.length);
      task = { start, answer: undefined, claim: () => undefined };
    },
    dropModel() {
      task = undefined;
    },
    provision: () => expect.fail("a hand was asked for"),
    listMcp: () => undefined,
    operate: () => expect.fail("an operation was begun"),
    cancel: () => undefined,
    ended: () => undefined,
    detach: () => undefined,
  };
  const sessions: SessionLog = {
    open: async () => ({ events: [...log], state: fold(log) }),
    read: async (_, from, to) => log.slice(from, to),
    follow: async () => ({ take: () => [], peek: () => [], onNews: undefined, close: () => undefined }),
    async append({ events, expectedPosition, epoch }: Append) {
      store(late);
      late = [];
      if (expectedPosition !== log.length) throw AppError.conflict("HEAD_MOVED", "somebody else was faster");
      if (log.some(({ type, epoch: one }) => type === "brain.woken" && one === 2)) throw AppError.fenced("enough seen");
      const from = log.length;
      store(events.map((event) => ({ ...event, epoch })));
      if (events.some(({ type }) => type === "span.model_request_start")) runner.drain(true);
      return log.slice(from);
    },
  };
  const runner = new Runner("sesn_1", {
    log: sessions,
    harness: defaultHarness,
    instanceId: "second",
    clock: systemClock,
    newId,
    checkpointEvents: 0,
    limits: defaultLimits,
    logger: silentLogger(),
    pass: () => undefined,
    createTasks: () => tasks,
  });
  await runner.run();
  const starts = log.flatMap((event) => (event.type === "span.model_request_start" ? [event] : []));
  return { contextPosition: starts.at(-1)?.context_position, requests: shown.length };
}

it("asks anew when another brain's answer came before its own request was announced", async () => {
  expect(await announced(answered)).toEqual({ contextPosition: asking.length + answered.length, requests: 2 });
});

it("goes on with its request when only a message of the user came before: that is answered next", async () => {
  expect(await announced([message])).toEqual({ contextPosition: asking.length, requests: 1 });
});
