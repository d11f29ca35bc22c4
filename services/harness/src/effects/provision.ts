import { create } from "@bufbuild/protobuf";
import type { EventDraft, JsonObject, LivingState } from "@manyhands/core";
import { type Clock, type IdSource, retry } from "@manyhands/kit";
import { RecipeSchema, toPlain } from "@manyhands/protocol";
import type { Pass } from "../fault-points.ts";
import { recipeOf } from "./recipe.ts";
import type { Sandboxes } from "./run-operation.ts";

const provisionDeadlineMs = 180_000;
const attempts = 8;

/** Makes the session's hand, waiting out short outages and a full house. Rejects with AppError when it cannot. */
export async function provisionHand(
  ports: { readonly sandboxes: Sandboxes; readonly pass: Pass; readonly clock: Clock; readonly newId: IdSource },
  session: { readonly id: string; readonly state: LivingState; readonly epoch: number; readonly signal: AbortSignal },
): Promise<EventDraft<"hand.provisioned">> {
  const { sandboxes, pass, clock, newId } = ports;
  const recipe = create(RecipeSchema, recipeOf(session.state));
  const request = {
    sessionId: session.id,
    name: "default",
    recipe,
    requestId: newId("req"),
    epoch: BigInt(session.epoch),
  };
  const { hand } = await retry(
    () => sandboxes.provision(request, { signal: session.signal, deadlineMs: provisionDeadlineMs }),
    {
      attempts,
      initialMs: 200,
      maxMs: 5_000,
      signal: session.signal,
      clock,
      when: (error) => error.kind === "unavailable" || error.kind === "exhausted",
    },
  );
  pass("after_provision");
  return {
    type: "hand.provisioned",
    hand_id: hand?.id ?? "",
    name: hand?.name ?? "default",
    driver: hand?.driver ?? "",
    not_isolated: hand?.notIsolated ?? [],
    recipe: toPlain(RecipeSchema, recipe) as JsonObject, // plain form of a message is JSON but for file bytes, which it has none of
    generation: hand?.generation ?? 1,
  };
}
