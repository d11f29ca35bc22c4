import { AppError, type RpcClient } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import type { SessionDirectory } from "./session-directory.ts";

/** Asks session-store. */
export function grpcSessionDirectory(client: Pick<RpcClient<typeof SessionService>, "getSession">): SessionDirectory {
  return {
    async workspaceOf(session, signal) {
      try {
        const answer = await client.getSession({ workspaceId: "", sessionId: session }, { signal });
        return answer.session?.workspaceId || undefined;
      } catch (error) {
        if (error instanceof AppError && error.kind === "notFound") {
          return undefined;
        }
        throw error;
      }
    },
  };
}
