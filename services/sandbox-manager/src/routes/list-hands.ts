import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import type { Manager } from "../hands/manager.ts";
import { checkedId, handToWire } from "./hand-codec.ts";

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;

/** Hands by session and name; the page token is the last pair shown. */
export function listHands(manager: Manager): MethodHandler<typeof SandboxService.method.listHands> {
  return async (request) => {
    if (request.pageSize > MAX_PAGE)
      throw AppError.invalid([{ field: "page_size", description: `must be at most ${MAX_PAGE}` }]);
    const sessionId = request.sessionId === "" ? undefined : checkedId("session_id", request.sessionId);
    const size = request.pageSize || DEFAULT_PAGE;
    const wanted = (await manager.store.list(sessionId))
      .map(({ record }) => record)
      .filter(({ state }) => request.includeGone || state === "ready" || state === "provisioning")
      .filter((record) => placeOf(record) > request.pageToken);
    const page = wanted.slice(0, size);
    const last = page.at(-1);
    return { hands: page.map(handToWire), nextPageToken: last && wanted.length > size ? placeOf(last) : "" };
  };
}

function placeOf({ sessionId, name }: { readonly sessionId: string; readonly name: string }): string {
  return `${sessionId}.${name}`;
}
