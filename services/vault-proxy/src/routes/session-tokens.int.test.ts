import { Audience } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());

describe("session tokens", () => {
  it("are for MODEL without a binding, for nothing else, and never for a session that is not there", async () => {
    const { token, expiresAt } = await vault.client.mintSessionToken({
      sessionId: "sesn_free",
      audiences: [Audience.MODEL],
    });
    expect((await vault.proxy.deps.guard.admit(token, "model")).workspace).toBe(WORKSPACE);
    expect(Number(expiresAt?.seconds) * 1000 - Date.now()).toBeLessThanOrEqual(900_000);
    await expect(
      vault.client.mintSessionToken({ sessionId: "sesn_free", audiences: [Audience.MODEL, Audience.GIT] }),
    ).rejects.toMatchObject({ kind: "notFound", reason: "SESSION_NOT_BOUND" });
    await expect(
      vault.client.mintSessionToken({ sessionId: "sesn_missing", audiences: [Audience.MODEL] }),
    ).rejects.toMatchObject({ kind: "notFound", reason: "SESSION_NOT_FOUND" });
  });

  it("end with their session for good, and a session cannot be taken by another workspace", async () => {
    const sessionId = "sesn_ends";
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId });
    await expect(vault.client.bindSession({ workspaceId: "wrkspc_else", sessionId })).rejects.toMatchObject({
      kind: "notFound",
    });
    await vault.client.revokeSession({ sessionId });
    await vault.client.revokeSession({ sessionId });
    const denied = { kind: "denied", reason: "SESSION_REVOKED" };
    await expect(vault.client.mintSessionToken({ sessionId, audiences: [Audience.MODEL] })).rejects.toMatchObject(
      denied,
    );
    await expect(vault.client.bindSession({ workspaceId: WORKSPACE, sessionId })).rejects.toMatchObject(denied);
  });
});
