/** One session-store over one nats-server for all tests of a file. */
import type { Event } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll } from "vitest";
import { type Sessions, startStore, testConfig } from "./service.ts";

/** Starts before the file's tests and stops after them. */
export function storeUnderTest() {
  let server: NatsServer;
  let started: Awaited<ReturnType<typeof startStore>>;
  beforeAll(async () => {
    server = await startNatsServer({ syncAlways: true });
    started = await startStore(testConfig(server));
  });
  afterAll(async () => {
    await started.stop();
    await server.stop();
  });
  return {
    store: {
      get sessions(): Sessions {
        return started.sessions;
      },
    },
    /** Appends one frame as the platform. */
    emit: (sessionId: string, ...events: Event[]) => started.sessions.emitEvents({ sessionId, events }),
  };
}
