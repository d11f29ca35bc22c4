/** Which handler answers which RPC. RPCs left out answer UNIMPLEMENTED and say that they are not served yet. */
import { type Implemented, implement } from "@manyhands/kit";
import {
  AgentService,
  EnvironmentService,
  FileService,
  MemoryService,
  RetentionService,
  SessionService,
} from "@manyhands/protocol";
import type { Deps } from "./deps.ts";
import { agentHandlers } from "./routes/agents.ts";
import { answerInTime } from "./routes/answer-in-time.ts";
import { archiveSession } from "./routes/archive-session.ts";
import { createSession } from "./routes/create-session.ts";
import { deleteSession } from "./routes/delete-session.ts";
import { emitEvents } from "./routes/emit-events.ts";
import { environmentHandlers } from "./routes/environments.ts";
import { exportSession } from "./routes/export-session.ts";
import { fileHandlers } from "./routes/files.ts";
import { forkSession } from "./routes/fork-session.ts";
import { getBlob } from "./routes/get-blob.ts";
import { getEvents } from "./routes/get-events.ts";
import { getSession } from "./routes/get-session.ts";
import { importSession } from "./routes/import-session.ts";
import { listSessions } from "./routes/list-sessions.ts";
import { memoryHandlers } from "./routes/memories.ts";
import { retentionHandlers } from "./routes/retention.ts";
import { memoryStoreHandlers } from "./routes/stores-of-memories.ts";
import { updateSession } from "./routes/update-session.ts";
import { verifySession } from "./routes/verify-session.ts";
import { watchEvents } from "./routes/watch-events.ts";

/** All services over the given dependencies. */
export function services(deps: Deps): Implemented[] {
  const { clock } = deps;
  return [
    implement(SessionService, {
      createSession: answerInTime(createSession(deps), clock),
      getSession: answerInTime(getSession(deps), clock),
      listSessions: answerInTime(listSessions(deps), clock),
      updateSession: answerInTime(updateSession(deps), clock),
      archiveSession: answerInTime(archiveSession(deps), clock),
      deleteSession: deleteSession(deps),
      emitEvents: answerInTime(emitEvents(deps), clock),
      getBlob: getBlob(deps),
      getEvents: answerInTime(getEvents(deps), clock),
      watchEvents: watchEvents(deps),
      forkSession: answerInTime(forkSession(deps), clock),
      exportSession: exportSession(deps),
      importSession: importSession(deps),
      verifySession: verifySession(deps),
    }),
    implement(AgentService, agentHandlers(deps)),
    implement(EnvironmentService, environmentHandlers(deps)),
    implement(FileService, fileHandlers(deps)),
    implement(MemoryService, { ...memoryStoreHandlers(deps), ...memoryHandlers(deps) }),
    implement(RetentionService, retentionHandlers(deps)),
  ];
}
