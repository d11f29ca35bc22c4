/** What a session does in another one's hand, told to the logs. A holder that is the hand's own session by now needs none. */
import { createHash, randomUUID } from "node:crypto";
import type { NewEvent } from "@manyhands/core";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import type { Grant } from "./grant.ts";
import { sessionLogOf } from "./pass-hands.ts";

/** Names and paths come from whoever calls; their beginning is enough for a log. */
const MAX_TOOL_CHARACTERS = 64;
const MAX_PATH_CHARACTERS = 256;

type Used = NewEvent<"hand.used">;

/** Tells the log of the hand's own session who calls what in it, before it begins. The same call again is told once. */
export async function tellCall(
  manager: Manager,
  held: HeldHand,
  by: { readonly grantId: string; readonly sessionId: string },
  call: { readonly operationId: string; readonly name: string },
): Promise<void> {
  const { sessionId: ownerId } = held.stored.record;
  if (ownerId === by.sessionId) return;
  const used = { operation_id: call.operationId, tool: call.name.slice(0, MAX_TOOL_CHARACTERS) };
  await sessionLogOf(manager).record(ownerId, idOf(call.operationId), { ...usedBy(held, by), ...used });
}

/** What is done in a hand beside calling its tools. */
export type OtherUse =
  | { readonly use: "attach" | "cancel"; readonly operationId: string }
  | { readonly use: "read_files"; readonly path: string };

/** Tells both logs of it: following and canceling of one operation once, reading each time. */
export async function tellOtherUse(
  manager: Manager,
  held: HeldHand,
  { grantId, toSessionId }: Grant,
  other: OtherUse,
): Promise<void> {
  const { sessionId: ownerId } = held.stored.record;
  if (ownerId === toSessionId) return;
  const common = { ...usedBy(held, { grantId, sessionId: toSessionId }), tool: "", use: other.use };
  const event: Used =
    other.use === "read_files"
      ? { ...common, operation_id: "", path: other.path.slice(0, MAX_PATH_CHARACTERS) }
      : { ...common, operation_id: other.operationId };
  const requestId = idOf(
    other.use === "read_files" ? randomUUID() : [other.use, grantId, other.operationId].join("\n"),
  );
  for (const sessionId of [ownerId, toSessionId]) await sessionLogOf(manager).record(sessionId, requestId, event);
}

function usedBy({ hand }: HeldHand, { grantId, sessionId }: { readonly grantId: string; readonly sessionId: string }) {
  return { id: "", type: "hand.used", hand_id: hand.handId, grant_id: grantId, by_session_id: sessionId } as const;
}

function idOf(text: string): string {
  return `used_${createHash("sha256").update(text).digest("hex").slice(0, 40)}`;
}
