import {
  AppError,
  createLifecycle,
  createRpcClient,
  createRpcServer,
  implement,
  type RpcClient,
  silentLogger,
} from "@manyhands/kit";
import { decodeEvent, type EmitEventsRequest, SessionService } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { grpcSessionDirectory } from "../tokens/grpc-session-directory.ts";
import { eventWriter } from "./event-writer.ts";
import type { Usage } from "./usage.ts";

const used: Usage = {
  id: "sevt_use1",
  proxy: "git",
  session: "sesn_1",
  workspace: "wrkspc_1",
  tokenId: "mst_1",
  credentialId: "session_resource",
  host: "github.com:443",
  method: "POST",
  path: "/o/r/git-upload-pack",
  status: 200,
  requestBytes: 10,
  responseBytes: 2 ** 40,
  outcome: "served",
  atMs: 0,
};

describe("what is asked of session-store", () => {
  const logger = silentLogger();
  const lifecycle = createLifecycle({ logger, drainMs: 500 });
  const emitted: EmitEventsRequest[] = [];
  let client: RpcClient<typeof SessionService>;
  beforeAll(async () => {
    const service = implement(SessionService, {
      emitEvents: async (request) => {
        emitted.push(request);
        return {};
      },
      getSession: async ({ workspaceId, sessionId }) => {
        if (workspaceId !== "") throw AppError.invalid([{ field: "workspace_id", description: "was not empty" }]);
        if (sessionId === "sesn_away") throw AppError.unavailable("AWAY", "away");
        if (sessionId !== "sesn_1") throw AppError.notFound("session", sessionId);
        return { session: { id: sessionId, workspaceId: "wrkspc_1" } };
      },
    });
    const { address } = await createRpcServer({ listen: "127.0.0.1:0", services: [service], logger, lifecycle });
    client = createRpcClient(SessionService, { address, defaultDeadlineMs: 5000 });
  });
  afterAll(async () => {
    client?.close();
    await lifecycle.stop("test");
  });

  it("adds a use to the log as the platform, under one id, at any position", async () => {
    const writer = eventWriter(client);
    await writer.write(used, AbortSignal.timeout(5000));
    await writer.write(used, AbortSignal.timeout(5000));
    expect(
      emitted.map(({ workspaceId, sessionId, epoch, expectedPosition }) => [
        workspaceId,
        sessionId,
        epoch,
        expectedPosition,
      ]),
    ).toEqual(Array.from({ length: 2 }, () => ["", "sesn_1", 0n, undefined]));
    expect(emitted[0]?.events.map(decodeEvent)).toMatchObject([
      {
        type: "credential.used",
        id: "sevt_use1",
        credential_id: "session_resource",
        proxy: "git",
        host: "github.com:443",
        path: "/o/r/git-upload-pack",
        status: 200,
        response_bytes: 2 ** 40,
      },
    ]);
    expect(emitted[1]?.events[0]?.id).toBe("sevt_use1");
  });

  it("adds nothing for a request that used no credential", async () => {
    const before = emitted.length;
    await eventWriter(client).write({ ...used, credentialId: "" }, AbortSignal.timeout(5000));
    expect(emitted).toHaveLength(before);
  });

  it("knows a session's workspace, that there is none, and that it cannot know", async () => {
    const directory = grpcSessionDirectory(client);
    const signal = AbortSignal.timeout(5000);
    expect(await directory.workspaceOf("sesn_1", signal)).toBe("wrkspc_1");
    expect(await directory.workspaceOf("sesn_2", signal)).toBeUndefined();
    await expect(directory.workspaceOf("sesn_away", signal)).rejects.toMatchObject({ kind: "unavailable" });
  });
});
