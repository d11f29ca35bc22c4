import { AppError } from "@manyhands/kit";
import type { Driver, FoundHand } from "../driver.ts";
import { createVirtualHand, type VirtualHand } from "./virtual-hand.ts";

/** Said to whoever asks what protects them. */
export const VIRTUAL_NOT_ISOLATED = [
  "commands are interpreted inside the manager's own process: CPU and memory are not kept apart, and files die with it",
  "it is not a Linux: no programs beyond the shell's own, no background jobs, no network, no git tunnel",
] as const;

type Held = VirtualHand & { readonly sessionId: string; readonly createdAtMs: number };

/** Hands in memory: no engine, no privileges, nothing installed. `nowMs` is the clock hands are dated by. */
export function createVirtualDriver(instance: string, nowMs: () => number): Driver {
  const hands = new Map<string, Held>();
  return {
    name: "virtual",
    notIsolated: VIRTUAL_NOT_ISOLATED,
    survivesManager: false,
    place: `virtual:${instance}`,
    async provision(plan) {
      if (plan.image) {
        throw AppError.invalid([
          { field: "recipe.image", description: "the virtual driver has no images; leave it empty" },
        ]);
      }
      const held = hands.get(plan.handId);
      if (held) return held.hand;
      const { handId, env, limits } = plan;
      const made = createVirtualHand({ handId, env, workspaceBytes: limits.workspaceBytes });
      hands.set(handId, { ...made, sessionId: plan.sessionId, createdAtMs: nowMs() });
      return made.hand;
    },
    async adopt(handId) {
      return hands.get(handId)?.hand;
    },
    async destroy(handId) {
      hands.get(handId)?.end();
      hands.delete(handId);
    },
    async list() {
      return [...hands].map(
        ([handId, { sessionId, createdAtMs }]): FoundHand => ({ handId, sessionId, createdAtMs, running: true }),
      );
    },
    async close() {
      for (const held of hands.values()) held.end();
      hands.clear();
    },
  };
}
