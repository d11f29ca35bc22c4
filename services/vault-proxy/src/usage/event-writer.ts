import type { RpcClient } from "@manyhands/kit";
import { encodeEvent, type SessionService } from "@manyhands/protocol";
import type { PushDeps } from "../git/pushes.ts";
import { credentialUsed } from "./audit-writer.ts";
import type { Usage, UsageWriter } from "./usage.ts";

/** Adds `credential.used` to the session's log. Only uses of a credential belong there. */
export function eventWriter(sessionStore: Pick<RpcClient<typeof SessionService>, "emitEvents">): UsageWriter {
  return {
    async write(usage: Usage, signal: AbortSignal) {
      if (usage.credentialId === "" || usage.session === "") {
        return;
      }
      await sessionStore.emitEvents(
        { workspaceId: "", sessionId: usage.session, events: [encodeEvent(credentialUsed(usage))], epoch: 0n },
        { signal },
      );
    },
  };
}

/** Adds what came of a push to its session's log. */
export function pushTeller(sessionStore: Pick<RpcClient<typeof SessionService>, "emitEvents">): PushDeps["tell"] {
  return async (sessionId, event, signal) => {
    await sessionStore.emitEvents({ workspaceId: "", sessionId, events: [encodeEvent(event)], epoch: 0n }, { signal });
  };
}
