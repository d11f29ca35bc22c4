/** Short ways to fork, export, import and read in tests through gRPC. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Event, ImportSessionRequestSchema } from "@manyhands/protocol";
import { type Sessions, workspaceId } from "./service.ts";

/** Forks a session; answers the fork's id. */
export async function fork(sessions: Sessions, sessionId: string, atPosition: number): Promise<string> {
  const { session } = await sessions.forkSession({ workspaceId, sessionId, atPosition: BigInt(atPosition) });
  if (session === undefined) throw new Error("no session in the answer");
  return session.id;
}

/** All events of a session, the platform's too, over all pages. */
export async function allEvents(sessions: Sessions, sessionId: string, pageSize = 1000): Promise<Event[]> {
  const all: Event[] = [];
  for (let pageToken = "", pages = 0; pages < 10_000; pages += 1) {
    const page = await sessions.getEvents({ sessionId, includePlatform: true, pageSize, pageToken });
    all.push(...page.events);
    pageToken = page.nextPageToken;
    if (pageToken === "") return all;
  }
  throw new Error("the pages do not end");
}

/** The whole file of a session. */
export async function exported(sessions: Sessions, sessionId: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const { chunk } of sessions.exportSession({ workspaceId, sessionId })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Imports a file in pieces of a size; answers the header. */
export async function imported(
  sessions: Sessions,
  file: Uint8Array,
  more: MessageInitShape<typeof ImportSessionRequestSchema> = {},
  pieceBytes = 10_000,
) {
  const pieces = async function* () {
    for (let at = 0; at < file.length; at += pieceBytes) {
      yield { workspaceId, ...more, chunk: file.subarray(at, at + pieceBytes) };
    }
  };
  const { session } = await sessions.importSession(pieces());
  if (session === undefined) throw new Error("no session in the answer");
  return session;
}
