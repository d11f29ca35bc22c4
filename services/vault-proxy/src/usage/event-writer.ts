import type { RpcClient } from "@manyhands/kit";
import { encodeEvent, type SessionService } from "@manyhands/protocol";
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
