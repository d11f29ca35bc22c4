import { describe, expect, it } from "vitest";
import type { Action } from "./actions.ts";
import { checkpointDraft, foldFrom } from "./checkpoint.ts";
import { decide } from "./decide.ts";
import type { JsonObject } from "./events.ts";
import { fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import {
  created,
  ended,
  provisioned,
  requested,
  result,
  running,
  stored,
  used,
  type Written,
} from "./testing/test-log.ts";
import { buildModelRequest } from "./transcript.ts";

const theirs = "hand_theirs";

function granted(rights: string[], tools: string[] = [], grant_id = "grant_1"): Written {
  return { type: "hand.granted", hand_id: theirs, grant_id, to_session_id: "sesn_b", rights, tools, received: true };
}

const { received: _, ...givenAway } = granted(["execute"]) as Written & { received: boolean };
const revoked: Written = { type: "hand.revoked", hand_id: theirs, grant_id: "grant_1" };

/** The model asks for a tool in a hand. */
function usedIn(id: string, hand: string, name = "bash"): Written {
  return { id, epoch: 1, type: "agent.tool_use", name, input: { hand }, evaluated_permission: "allow" };
}

const asked = (...uses: Written[]) => [running, requested("sevt_r", 1), ...uses, ended("sevt_r", "tool_use")];

function next(events: readonly Written[], environment?: JsonObject): Action {
  const state = fold(stored([created({}, environment), ...events]));
  return decide({ state, now: 0, limits: defaultLimits, epoch: 1, inFlight: new Set() });
}

function shown(events: readonly Written[], contextPosition = Number.POSITIVE_INFINITY) {
  const log = stored([created(), ...events]);
  const state = fold(log);
  if (!("agent" in state)) throw new Error("no session");
  const { tools = [] } = buildModelRequest(log, { agent: state.agent, contextPosition, maxOutputTokens: 100 });
  return Object.fromEntries(tools.map((tool) => [tool.name, JSON.stringify(tool.input_schema.properties)]));
}

describe("a hand that was granted is offered to the model", () => {
  const isOffered = (events: readonly Written[], tool: string) => shown(events)[tool]?.includes(theirs) ?? false;

  it("by every tool that the grant allows, and by no other", () => {
    const row = (rights: string[], tools: string[] = []) =>
      ["bash", "read", "glob", "web_fetch"].map((tool) => isOffered([granted(rights, tools)], tool));
    expect(row(["execute"])).toEqual([true, true, true, false]);
    expect(row(["read"])).toEqual([false, true, true, false]);
    expect(row(["attach", "transfer"])).toEqual([false, false, false, false]);
    expect(row(["execute"], ["bash"])).toEqual([true, false, false, false]);
  });

  it("from the event on, as the log below the request's position has it", () => {
    const log = [granted(["execute"]), revoked];
    expect(shown(log, 1).bash).not.toContain(theirs);
    expect(shown(log, 2).bash).toContain(theirs);
    expect(shown(log, 3)).toEqual(shown([]));
  });

  it("not to the session that gave it, nor to a fork of the one that received it", () => {
    expect(isOffered([givenAway], "bash")).toBe(false);
    const origin = { origin_session_id: "sesn_o", origin_position: 2, origin_frames: 2, carrier_id: "" };
    const forked = { ...created(), ...origin, type: "session.forked" } as Written;
    expect(isOffered([granted(["execute"]), forked], "bash")).toBe(false);
  });
});

describe("a call that names a hand", () => {
  it("goes there by the newest grant that allows it, and makes no hand of the session's own", () => {
    const log = [
      granted(["execute"]),
      granted(["read"], [], "grant_2"),
      ...asked(usedIn("c1", theirs), usedIn("c2", theirs, "read")),
    ];
    expect(next(log)).toEqual({
      type: "append",
      events: [
        { type: "operation.dispatched", operation_id: "c1", hand_id: theirs, grant_id: "grant_1", attempt: 1 },
        { type: "operation.dispatched", operation_id: "c2", hand_id: theirs, grant_id: "grant_2", attempt: 1 },
      ],
    });
  });

  it("is answered where there is no right, or not any more", () => {
    for (const log of [[], [givenAway], [granted(["read"])], [granted(["execute"]), revoked]]) {
      expect(next([...log, ...asked(usedIn("c1", theirs))])).toMatchObject({
        type: "append",
        events: [{ type: "agent.tool_result", tool_use_id: "c1", outcome: "NOT_STARTED", is_error: true, hand_id: "" }],
      });
    }
  });

  it("goes to the session's own by its name too", () => {
    const log = [provisioned("hand_own"), ...asked(usedIn("c1", "hand_own"))];
    expect(next(log)).toMatchObject({ events: [{ type: "operation.dispatched", hand_id: "hand_own" }] });
  });

  it("is no worker's in a self-hosted environment", () => {
    const outside = { config: { type: "self_hosted" } };
    const log = [granted(["execute"]), ...asked(used("c1"), usedIn("c2", theirs))];
    expect(next(log, outside)).toMatchObject({ events: [{ type: "operation.dispatched", operation_id: "c2" }] });
  });

  it("keeps its grant over a checkpoint, and changes nothing of the session's own files", () => {
    const dispatched: Written = {
      epoch: 1,
      type: "operation.dispatched",
      operation_id: "c1",
      hand_id: theirs,
      grant_id: "grant_1",
      attempt: 1,
    };
    const log = stored([
      created(),
      provisioned("hand_own"),
      granted(["execute"]),
      ...asked(usedIn("c1", theirs)),
      dispatched,
    ]);
    const state = fold(log);
    if (state.phase !== "acting") throw new Error("nothing is under way");
    const draft = checkpointDraft(state);
    if (!draft) throw new Error("no checkpoint");
    const checkpoint = stored([draft], state.head);
    const after = stored([result("c1")], state.head + 1);
    expect(foldFrom([...checkpoint, ...after])?.state).toEqual(fold([...log, ...checkpoint, ...after]));
    expect(state.calls[0]?.progress).toMatchObject({ handId: theirs, grantId: "grant_1" });
    expect(fold([...log, ...checkpoint, ...after])).toMatchObject({ filesAfter: ["start_hand_own"] });
  });
});
