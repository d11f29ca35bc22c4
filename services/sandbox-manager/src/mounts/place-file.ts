import { createHash } from "node:crypto";
import { AppError, newId } from "@manyhands/kit";
import type { Hand, OperationAction, PlaceAction } from "../drivers/driver.ts";

const STEP_MS = 60_000;

/** Gives the agent a piece of a file to put in its place; answers 0 or an errno. */
export function placeFile(
  hand: Hand,
  piece: Partial<PlaceAction> & Pick<PlaceAction, "path" | "step">,
): Promise<number> {
  return perform(hand, { kind: "place", offset: 0, content: new Uint8Array(), ...piece });
}

/** Runs an operation of the platform's own to its end; answers its exit code. */
export async function perform(hand: Hand, action: OperationAction): Promise<number> {
  const id = newId("mount");
  const inputHash = createHash("sha256").update(id).digest();
  const { parts } = await hand.start({ id, inputHash, timeoutMs: STEP_MS, action });
  for await (const part of parts) if (part.type === "exit") return part.state.exitCode ?? -1;
  throw AppError.internal(new Error("an operation's parts ended without an exit"));
}
