import { create } from "@bufbuild/protobuf";
import { EventSchema } from "@manyhands/protocol";
import { describe, expect, it } from "vitest";
import { agentMessage, collect, json, newSession, userMessage, workspaceId } from "../testing/service.ts";
import { storeUnderTest } from "../testing/store-under-test.ts";

const { store, emit } = storeUnderTest();

describe("bad input", () => {
  it("names every field and rule, and the service stays up", async () => {
    await expect(store.sessions.createSession({})).rejects.toMatchObject({
      kind: "invalid",
      details: { fieldViolations: [{ field: "workspace_id", description: "is required" }] },
    });
    await expect(
      store.sessions.createSession({
        workspaceId: "a.b",
        title: "x".repeat(257),
        vaultIds: ["nope"],
        sessionId: "sesn_>",
      }),
    ).rejects.toMatchObject({
      details: {
        fieldViolations: [
          { field: "workspace_id" },
          { field: "title" },
          { field: "session_id" },
          { field: "vault_ids[0]" },
        ],
      },
    });
    await expect(
      store.sessions.createSession({ workspaceId, agentJson: json([]), environmentJson: json({}) }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "agent_json" }] } });
  });

  it("answers NOT_FOUND for unknown sessions and those of other workspaces", async () => {
    await expect(store.sessions.getSession({ workspaceId, sessionId: "sesn_none" })).rejects.toMatchObject({
      kind: "notFound",
    });
    const sessionId = await newSession(store.sessions);
    const other = { workspaceId: "wrkspc_other", sessionId };
    await expect(store.sessions.getSession(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.getEvents(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.emitEvents({ ...other, events: [userMessage("x")] })).rejects.toMatchObject({
      kind: "notFound",
    });
    await expect(store.sessions.archiveSession(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.deleteSession(other)).rejects.toMatchObject({ kind: "notFound" });
    const watch = collect((signal) => store.sessions.watchEvents(other, { signal }));
    expect(await watch.ended).toMatchObject({ kind: "notFound" });
  });

  it("refuses frames that are empty, too many, too large, or hold what their sender may not send", async () => {
    const sessionId = await newSession(store.sessions);
    await expect(store.sessions.emitEvents({ sessionId })).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events", description: "must hold 1 to 64 events, holds 0" }] },
    });
    const many = Array.from({ length: 65 }, (_, n) => userMessage(String(n)));
    await expect(emit(sessionId, ...many)).rejects.toMatchObject({ kind: "invalid" });
    await expect(emit(sessionId, userMessage("x".repeat(600_000)))).rejects.toMatchObject({
      reason: "TOO_LARGE",
      details: { metadata: { limit: "524288" } },
    });
    await expect(
      store.sessions.emitEvents({ workspaceId, sessionId, events: [agentMessage("I am the model")] }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "events[0].type" }] } });
    const wrong = create(EventSchema, { type: "user.message", payload: { case: "userInterrupt", value: {} } });
    await expect(emit(sessionId, wrong)).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events[0].payload" }] },
    });
    await expect(emit(sessionId, userMessage("x", "bad id"))).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events[0].id" }] },
    });
    expect((await store.sessions.getSession({ sessionId })).session?.headPosition).toBe(1n);
  });
});
