import type { EventDraft, JsonObject, LivingState } from "@manyhands/core";
import { type Clock, type IdSource, retry } from "@manyhands/kit";
import { type RecipeProblem, RecipeSchema, toPlain } from "@manyhands/protocol";
import type { Pass } from "../fault-points.ts";
import { handRequestOf } from "./recipe.ts";
import type { Sandboxes } from "./run-operation.ts";

const provisionDeadlineMs = 180_000;
const attempts = 8;

/**
 * Makes the session's hand, waiting out short outages and a full house. Rejects with AppError when it cannot.
 * What of the recipe could not be had is told beside it: the session goes on without.
 */
export async function provisionHand(
  ports: { readonly sandboxes: Sandboxes; readonly pass: Pass; readonly clock: Clock; readonly newId: IdSource },
  session: { readonly id: string; readonly state: LivingState; readonly epoch: number; readonly signal: AbortSignal },
): Promise<readonly EventDraft[]> {
  const { sandboxes, pass, clock, newId } = ports;
  const request = { ...handRequestOf(session), requestId: newId("req") };
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
  const made: EventDraft<"hand.provisioned"> = {
    type: "hand.provisioned",
    hand_id: hand?.id ?? "",
    name: hand?.name ?? "default",
    driver: hand?.driver ?? "",
    not_isolated: hand?.notIsolated ?? [],
    // As it was made, with commits. The plain form of a message is JSON but for file bytes, which it has none of.
    recipe: toPlain(RecipeSchema, hand?.recipe ?? request.recipe) as JsonObject,
    generation: hand?.generation ?? 1,
  };
  return [made, ...(hand?.problems ?? []).map(problemEvent)];
}

function problemEvent({ type, message, repositoryUrl }: RecipeProblem): EventDraft<"session.error"> {
  const where = repositoryUrl === "" ? {} : { repository_url: repositoryUrl };
  return { type: "session.error", error: { type, message, retry_status: { type: "retrying" }, ...where } };
}
