import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkpointDraft, checkpointedTo, foldFrom, foldVersion, maxCheckpointBytes } from "./checkpoint.ts";
import type { Json, SessionEvent } from "./events.ts";
import { evolve, fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import { emptyState, type State } from "./state.ts";
import { runPurely } from "./testing/pure-run.ts";
import { created, said, stored } from "./testing/test-log.ts";

const limits = { ...defaultLimits, parallelTools: 2, iterationsPerTurn: 12, modelAttempts: 3, toolUsesPerResponse: 2 };
const script = fc.array(fc.nat(4_095), { maxLength: 80 });

/** The event as the store gives it back. */
function saved(state: State): SessionEvent | undefined {
  if (state.phase === "unborn" || state.phase === "closed") return undefined;
  const draft = checkpointDraft(state);
  if (draft === undefined) return undefined;
  const { up_to_position, fold_version } = draft;
  const [event] = stored([{ ...draft, up_to_position, fold_version, state: throughJson(draft.state) }], state.head);
  return event;
}

const throughJson = (value: Json): Json => JSON.parse(JSON.stringify(value));

/** The log with a checkpoint put in at a position; what stood there and later moves one on. */
function withCheckpoint(events: readonly SessionEvent[], at: number): SessionEvent[] {
  const checkpoint = saved(fold(events.slice(0, at)));
  if (checkpoint === undefined) return [];
  return [
    ...events.slice(0, at),
    checkpoint,
    ...events.slice(at).map((event) => ({ ...event, position: event.position + 1 })),
  ];
}

describe("a checkpoint", () => {
  it("C1: folds on to what the whole log folds to, at every position of any session with any faults", () => {
    let checked = 0;
    fc.assert(
      fc.property(script, fc.nat(), (choices, pick) => {
        const { events } = runPurely([1, ...choices], limits);
        for (const at of [1 + (pick % events.length), Math.ceil(events.length / 2), events.length]) {
          const log = withCheckpoint(events, at);
          if (log.length === 0) continue;
          checked += 1;
          expect(foldFrom(log.slice(at))).toEqual({ state: fold(log), from: at });
        }
      }),
      { numRuns: 300 },
    );
    expect(checked).toBeGreaterThan(300);
  });

  it("C1: restores a state that goes on like the one it was made of", () => {
    fc.assert(
      fc.property(script, (choices) => {
        let state: State = emptyState;
        for (const event of runPurely([1, ...choices], limits).events) {
          const checkpoint = saved(state);
          if (checkpoint !== undefined) {
            const moved = { ...event, position: event.position + 1 };
            expect(foldFrom([checkpoint, moved])?.state).toEqual(evolve({ ...state, head: state.head + 1 }, moved));
          }
          state = evolve(state, event);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("C2: is none when it is of another version, out of place, of another shape, or not a checkpoint", () => {
    const log = stored([created(), said("a")]);
    const good = saved(fold(log));
    if (good?.type !== "context.checkpointed") throw new Error("no checkpoint");
    expect(foldFrom([good])).toBeDefined();
    expect(foldFrom([{ ...good, fold_version: foldVersion + 1 }])).toBeUndefined();
    expect(foldFrom([{ ...good, up_to_position: 1 }])).toBeUndefined();
    expect(foldFrom([{ ...good, position: 3, up_to_position: 3 }])).toBeUndefined();
    expect(foldFrom(log.slice(1))).toBeUndefined();
    const { at, epoch, id, position } = good;
    const unknown = { at, epoch, id, position, type: good.type, unknown: new Uint8Array() };
    expect(foldFrom([unknown])).toBeUndefined();
  });

  it("C2: is none when any field of its state is missing or of another kind, and never throws", () => {
    const good = saved(fold(stored([created(), said("a")])));
    if (good?.type !== "context.checkpointed") throw new Error("no checkpoint");
    const state = good.state;
    if (typeof state !== "object" || state === null || Array.isArray(state)) throw new Error("no object");
    for (const name of Object.keys(state)) {
      const { [name]: _, ...rest } = state;
      expect(foldFrom([{ ...good, state: rest }]), `without ${name}`).toBeUndefined();
      expect(foldFrom([{ ...good, state: { ...state, [name]: null } }]), `null ${name}`).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.jsonValue(), (junk) => foldFrom([{ ...good, state: throughJson(junk as Json) }]) === undefined),
    );
  });

  it("is not made of a state that is larger than what it saves", () => {
    const state = fold(stored([created({ system: "x".repeat(maxCheckpointBytes) })]));
    if (state.phase !== "resting") throw new Error("not born");
    expect(checkpointDraft(state)).toBeUndefined();
  });

  it("names the newest one, and none of a fork's origin", () => {
    const log = withCheckpoint(stored([created(), said("a"), said("b")]), 2);
    expect(checkpointedTo(log, 0)).toBe(3);
    expect(checkpointedTo(log.slice(3), 3)).toBe(3);
    const [begun] = stored([created()]);
    if (begun?.type !== "session.created") throw new Error("no session");
    const origin = { origin_session_id: "sesn_o", origin_position: 4, origin_frames: 4, carrier_id: "" };
    expect(checkpointedTo([...log, { ...begun, ...origin, type: "session.forked", position: 4 }], 0)).toBe(0);
  });

  it("keeps its version only while logs fold to the same state", () => {
    // When this fails because State or evolve changed: raise foldVersion, then write what is expected anew.
    const state = fold(stored([created(), said("a")]));
    if (state.phase !== "resting") throw new Error("not born");
    expect(foldVersion).toBe(4);
    expect(checkpointDraft(state)).toMatchInlineSnapshot(`
      {
        "fold_version": 4,
        "state": {
          "activeMs": 0,
          "agent": {
            "context": {
              "keep_requests": 4,
              "recall": false,
              "trigger_tokens": 0,
              "type": "compaction",
            },
            "custom": [
              {
                "description": "Looks up.",
                "inputSchema": {
                  "properties": {},
                  "type": "object",
                },
                "name": "lookup",
              },
            ],
            "mcp": [
              [
                "tickets",
                {
                  "enabled": true,
                  "exceptions": [],
                  "policy": "always_ask",
                },
              ],
            ],
            "model": "demo-1",
            "system": "You fix bugs.",
            "toolset": {
              "enabled": true,
              "exceptions": [
                [
                  "write",
                  {
                    "enabled": true,
                    "policy": "always_ask",
                  },
                ],
                [
                  "grep",
                  {
                    "enabled": false,
                    "policy": "always_allow",
                  },
                ],
              ],
              "policy": "always_allow",
            },
          },
          "announced": [],
          "environment": {
            "config": {
              "type": "cloud",
            },
          },
          "epoch": 0,
          "handsMade": 0,
          "harnessKind": "default",
          "head": 2,
          "inbox": [
            1,
          ],
          "interrupted": false,
          "iterations": 0,
          "lastStop": "",
          "phase": "resting",
          "resources": [],
          "runningSince": 1700000001000,
          "saidRunning": false,
          "settings": {},
          "status": "running",
          "toolCalls": 0,
          "usage": {
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "input_tokens": 0,
            "output_tokens": 0,
          },
          "usageByModel": {},
          "wakes": 0,
          "window": {
            "compactions": 0,
            "cutPoints": [],
            "overflows": 0,
            "tokens": 0,
          },
        },
        "type": "context.checkpointed",
        "up_to_position": 2,
      }
    `);
  });
});
