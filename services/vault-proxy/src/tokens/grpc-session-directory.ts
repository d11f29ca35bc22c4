import { AppError, type RpcClient } from "@manyhands/kit";
import type { Session, SessionService } from "@manyhands/protocol";
import type { SessionDirectory } from "./session-directory.ts";

/** Asks session-store. */
export function grpcSessionDirectory(client: Pick<RpcClient<typeof SessionService>, "getSession">): SessionDirectory {
  const read = async (sessionId: string, signal?: AbortSignal): Promise<Session | undefined> => {
    try {
      const answer = await client.getSession({ workspaceId: "", sessionId }, signal === undefined ? {} : { signal });
      return answer.session;
    } catch (error) {
      if (error instanceof AppError && error.kind === "notFound") {
        return undefined;
      }
      throw error;
    }
  };
  return {
    workspaceOf: async (session, signal) => (await read(session, signal))?.workspaceId || undefined,
    configOf: read,
  };
}
