import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide } from "./decide.ts";
import type { SessionEvent } from "./events.ts";
import { evolve, fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import { emptyState } from "./state.ts";
import { type PureRun, runPurely } from "./testing/pure-run.ts";
import { buildTurns, type ModelTurn } from "./transcript.ts";

const limits = { ...defaultLimits, parallelTools: 2, iterationsPerTurn: 12, modelAttempts: 3, toolUsesPerResponse: 2 };
const script = fc.array(fc.nat(4_095), { maxLength: 80 });
const runs = { numRuns: 400 };

function holds(check: (run: PureRun) => void): void {
  fc.assert(
    fc.property(script, (choices) => check(runPurely([1, ...choices], limits))),
    runs,
  );
}

/** Roles alternate, and every tool use is answered in the very next turn, in order, once. */
function expectWellFormed(turns: readonly ModelTurn[]): void {
  const spoken = turns.filter((turn) => turn.role !== "system");
  if (spoken.length > 0) expect(spoken[0]?.role).toBe("user");
  for (const [index, turn] of spoken.entries()) {
    expect(turn.content.length).toBeGreaterThan(0);
    if (index > 0) expect(turn.role).not.toBe(spoken[index - 1]?.role);
    const uses = turn.content.filter((block) => block.type === "tool_use").map((block) => block.id);
    const next = spoken[index + 1]?.content ?? [];
    const results = next.filter((block) => block.type === "tool_result").map((block) => block.tool_use_id);
    if (turn.role === "assistant") expect(results).toEqual(uses);
  }
}

describe("any session with any faults", () => {
  it("H1: folds at every prefix, and decides the same thing twice", () => {
    holds((run) => {
      let state = emptyState;
      for (const [index, event] of run.events.entries()) {
        state = evolve(state, event);
        expect(state.head).toBe(index + 1);
        const view = { state, now: event.at, limits, epoch: state.epoch + 1, inFlight: new Set<string>() };
        expect(decide(view)).toEqual(decide(structuredClone(view)));
      }
      expect(fold(run.events)).toEqual(run.state);
      for (const { view, action } of run.decisions) expect(decide(view)).toEqual(action);
    });
  });

  it("H1: folds damaged logs too: events dropped, doubled or moved", () => {
    const damage = fc.tuple(script, fc.array(fc.nat(500), { maxLength: 60 }));
    fc.assert(
      fc.property(damage, ([choices, picks]) => {
        const { events } = runPurely([1, ...choices], limits);
        const picked = picks.map((pick) => events[pick % events.length]).filter((event) => event !== undefined);
        const damaged = picked.map((event, position): SessionEvent => ({ ...event, position }));
        const state = fold(damaged);
        decide({ state, now: 0, limits, epoch: state.epoch + 1, inFlight: new Set() });
        expectWellFormed(buildTurns(damaged, damaged.length));
      }),
      runs,
    );
  });

  it("H2, H4: runs no operation twice, and none whose intent is not in the log", () => {
    holds((run) => {
      const intents = run.events.filter((event) => event.type === "operation.dispatched");
      const ids = new Set(intents.map((event) => event.operation_id));
      for (const [id, times] of run.runs) {
        expect(times).toBe(1);
        expect(ids).toContain(id);
      }
    });
  });

  it("shows the model well-formed turns at every request, with a stable prefix", () => {
    holds((run) => {
      for (const { turns, contextPosition } of run.requests) {
        expectWellFormed(turns);
        expect(buildTurns(run.events, contextPosition)).toEqual(turns);
      }
    });
  });

  it("answers every tool use exactly once before the next request", () => {
    holds((run) => {
      const open = new Set<string>();
      for (const event of run.events) {
        if (event.type.endsWith("tool_use")) open.add(event.id);
        else if (event.type === "agent.tool_result") expect(open.delete(event.tool_use_id)).toBe(true);
        else if (event.type === "agent.mcp_tool_result") expect(open.delete(event.mcp_tool_use_id)).toBe(true);
        else if (event.type === "user.custom_tool_result") expect(open.delete(event.custom_tool_use_id)).toBe(true);
        else if (event.type === "span.model_request_start") expect([...open]).toEqual([]);
      }
    });
  });

  it("comes to rest, idle, with the end of the turn as the last event, once faults stop", () => {
    holds((run) => {
      expect(run.decisions.at(-1)?.action.type).toBe("rest");
      expect(run.state).toMatchObject({ status: "idle" });
      const said = run.events.filter((event) => event.type !== "brain.woken"); // a crash at rest changes nothing
      expect(said.at(-1)?.type).toBe("session.status_idle");
    });
  });

  it("never has more operations in flight than it may", () => {
    holds((run) => {
      const inFlight = new Set<string>();
      for (const event of run.events) {
        if (event.type === "operation.dispatched") inFlight.add(event.operation_id);
        if (event.type === "agent.tool_result") inFlight.delete(event.tool_use_id);
        expect(inFlight.size).toBeLessThanOrEqual(limits.parallelTools);
      }
    });
  });
});
