/** A brain that stops after any append and after any effect: the next one comes to the same end, and nothing runs twice. */
import { describe, expect, it } from "vitest";
import type { Action } from "./actions.ts";
import { decide } from "./decide.ts";
import type { SessionEvent } from "./events.ts";
import { evolve, fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import { type ResponseBlock, responseEvents } from "./model-response.ts";
import { followUp, resultDraft } from "./recovery.ts";
import type { Call } from "./state.ts";
import { created, provisioned, said, stored, type Written } from "./testing/test-log.ts";
import { buildTurns } from "./transcript.ts";

const limits = { ...defaultLimits, parallelTools: 2 };
const usage = { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };

/** What the model says after so many responses: one call, three at once, and the end. */
const script: readonly (readonly string[])[] = [["a"], ["b", "c", "d"], []];

/** The brain was stopped. */
class Stopped extends Error {}

/** What outlives every brain: the log, and the ledger of the hand. */
class Outside {
  readonly log: SessionEvent[] = [];
  readonly runs = new Map<string, number>();
  readonly shown: string[] = [];
  /** Places where a brain could be stopped so far. */
  places = 0;
  private readonly stopAt: number;

  constructor(stopAt: number) {
    this.stopAt = stopAt;
    this.append(0, [created(), said("go")]);
  }

  /** After an append or an effect: the moment to stop a brain. */
  place(): void {
    this.places += 1;
    if (this.places === this.stopAt) throw new Stopped();
  }

  append(epoch: number, events: readonly Written[]): void {
    const told = events.map((event) => ({ ...event, epoch }));
    this.log.push(...stored(told, this.log.length));
  }
}

/** One brain on the log, until there is nothing to do. */
function drive(outside: Outside, epoch: number): void {
  const brain = { harness_kind: "default", harness_version: "1.0.0", instance_id: `brain-${epoch}` };
  const inFlight = new Set<string>();
  const append = (events: readonly Written[]) => {
    outside.append(epoch, events);
    outside.place();
  };
  append([{ type: "brain.woken", epoch, ...brain }]);
  for (let step = 0; step < 200; step += 1) {
    const state = fold(outside.log);
    const action = decide({ state, now: 0, limits, epoch, inFlight: new Set(inFlight) });
    if (action.type === "rest") return;
    perform(outside, action, inFlight, append);
  }
  throw new Error("the brain decides without end");
}

function perform(
  outside: Outside,
  action: Action,
  inFlight: Set<string>,
  append: (events: readonly Written[]) => void,
): void {
  switch (action.type) {
    case "append":
      append(action.events);
      return;
    case "callModel":
      askModel(outside, action, append);
      return;
    case "provision":
      outside.place(); // the hand is made, and adopted by whoever asks next
      append([provisioned("hand_1")]);
      return;
    case "operate":
      for (const call of [...action.start, ...action.follow]) inFlight.add(call.id);
      for (const call of action.start) {
        if (!outside.runs.has(call.id)) outside.runs.set(call.id, 1);
        outside.place();
        append([resultDraft(call, "COMPLETED", `ran ${call.id}`, false, "hand_1")]);
      }
      for (const call of action.follow) follow(outside, call, append);
      return;
    default:
      throw new Error(`${action.type} has no place in this session`);
  }
}

function askModel(
  outside: Outside,
  action: Extract<Action, { type: "callModel" }>,
  append: (events: readonly Written[]) => void,
): void {
  const state = fold(outside.log);
  if (state.phase === "unborn" || state.phase === "closed") throw new Error("nobody to ask for");
  const { contextPosition: context_position, attempt } = action;
  const id = `sevt_ask${outside.log.length}`;
  const closed: Written[] = action.closes === undefined ? [] : [closedDraft(action.closes)];
  append([...closed, { id, type: "span.model_request_start", model: "demo-1", context_position, attempt }]);
  outside.shown.push(JSON.stringify(buildTurns(outside.log, context_position)));
  outside.place();
  const answered = outside.log.filter((one) => one.type === "span.model_request_end" && !one.is_error).length;
  const blocks: ResponseBlock[] = [
    { type: "text", id: `sevt_words${answered}_${outside.log.length}`, text: `answer ${answered}` },
    ...(script[answered] ?? []).map(
      (name): ResponseBlock => ({ type: "tool_use", id: `sevt_${name}`, name: "bash", input: { command: name } }),
    ),
  ];
  const stopReason = blocks.length > 1 ? "tool_use" : "end_turn";
  append(responseEvents(state.agent, id, { blocks, stopReason, usage, timeToFirstTokenMs: 1 }, limits));
}

function closedDraft(startId: string): Written {
  return {
    type: "span.model_request_end",
    model_request_start_id: startId,
    is_error: true,
    model_usage: { ...usage, input_tokens: 0, output_tokens: 0 },
    stop_reason: "",
    time_to_first_token_ms: 0,
  };
}

/** What the ledger of the hand says decides; the same id is never run twice. */
function follow(outside: Outside, call: Call, append: (events: readonly Written[]) => void): void {
  const found = outside.runs.has(call.id) ? "COMPLETED" : "NOT_STARTED";
  if (followUp(found, 1, limits.operationAttempts) === "sendAgain") {
    outside.runs.set(call.id, (outside.runs.get(call.id) ?? 0) + 1);
    outside.place();
  }
  append([resultDraft(call, "COMPLETED", `ran ${call.id}`, false, "hand_1")]);
}

/** What a session says apart from which brains drove it when, and how often they asked. */
function essence(log: readonly SessionEvent[]): string[] {
  return log.flatMap((event) => {
    switch (event.type) {
      case "agent.message":
        return [JSON.stringify(event.content)];
      case "agent.tool_use":
        return [`use ${event.id}`];
      case "operation.dispatched":
        return [`intent ${event.operation_id}`];
      case "agent.tool_result":
        return [`result ${event.tool_use_id} ${event.outcome} ${JSON.stringify(event.content)}`];
      case "session.status_idle":
        return [`idle ${event.stop_reason.type}`];
      default:
        return [];
    }
  });
}

/** Results of calls that ran at the same time may come in either order; intents of a second batch with them. */
function inOrder(log: readonly SessionEvent[]): string[] {
  return essence(log).sort();
}

function run(stopAt: number): Outside {
  const outside = new Outside(stopAt);
  for (let epoch = 1; epoch <= 2; epoch += 1) {
    try {
      drive(outside, epoch);
      return outside;
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    }
  }
  throw new Error("the second brain was stopped too");
}

describe("a brain that is stopped", () => {
  const whole = run(0);

  it("has many places to be stopped at", () => {
    expect(whole.places).toBeGreaterThan(15);
    expect(whole.log.at(-1)?.type).toBe("session.status_idle");
  });

  it.each(Array.from({ length: whole.places }, (_, at) => at + 1))(
    "at place %i is followed by one that comes to the same end and repeats nothing",
    (place) => {
      const stopped = run(place);
      expect(inOrder(stopped.log)).toEqual(inOrder(whole.log));
      expect([...stopped.runs].sort()).toEqual([...whole.runs].sort());
      expect(stopped.shown.filter((one, at) => stopped.shown.indexOf(one) === at)).toEqual(whole.shown);
    },
  );

  it("leaves every prefix of the log to a brain that knows what to do", () => {
    let state = fold([]);
    for (const event of whole.log) {
      state = evolve(state, event);
      const action = decide({ state, now: 0, limits, epoch: state.epoch + 1, inFlight: new Set() });
      const isOver = state.phase === "unborn" || ("status" in state && state.status === "idle");
      expect(action.type === "rest").toBe(isOver);
    }
  });
});
