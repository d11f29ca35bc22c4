import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";
import { bearer, canary, vaultCalls } from "../testing/vault-calls.ts";

let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());
const { newVault } = vaultCalls(() => vault);

describe("vaults", () => {
  it("are made, read, changed, archived and deleted", async () => {
    const vaultId = await newVault();
    const ref = { workspaceId: WORKSPACE, vaultId };
    const { vault: read } = await vault.client.getVault(ref);
    expect(read).toMatchObject({ id: vaultId, displayName: "Mine", metadata: { team: "a" } });
    const { vault: updated } = await vault.client.updateVault({
      ...ref,
      displayName: "New",
      metadata: { team: "", b: "1" },
    });
    expect(updated).toMatchObject({ displayName: "New", metadata: { b: "1" } });
    expect(updated?.metadata).not.toHaveProperty("team");
    expect((await vault.client.archiveVault(ref)).vault?.archivedAt).toBeDefined();
    const ids = async (includeArchived: boolean) =>
      (await vault.client.listVaults({ workspaceId: WORKSPACE, pageSize: 1000, includeArchived })).vaults.map(
        ({ id }) => id,
      );
    expect(await ids(false)).not.toContain(vaultId);
    expect(await ids(true)).toContain(vaultId);
    await vault.client.deleteVault(ref);
    await expect(vault.client.getVault(ref)).rejects.toMatchObject({ kind: "notFound", reason: "VAULT_NOT_FOUND" });
    await expect(vault.client.deleteVault(ref)).rejects.toMatchObject({ kind: "notFound" });
  });

  it("come newest first, page by page, each once", async () => {
    const workspaceId = "wrkspc_pages";
    const made: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      made.push(await newVault(workspaceId));
    }
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await vault.client.listVaults({ workspaceId, pageSize: 3, pageToken });
      seen.push(...page.vaults.map(({ id }) => id));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen).toEqual(made.toReversed());
  });

  it("answer a repeated request id with the same vault, and refuse another request under it", async () => {
    const request = { workspaceId: WORKSPACE, displayName: "Once", requestId: canary() };
    const answers = await Promise.all(Array.from({ length: 5 }, () => vault.client.createVault(request)));
    expect(new Set(answers.map((answer) => answer.vault?.id)).size).toBe(1);
    await expect(vault.client.createVault({ ...request, displayName: "Other" })).rejects.toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
    const elsewhere = await vault.client.createVault({ ...request, workspaceId: "wrkspc_else" });
    expect(elsewhere.vault?.id).not.toBe(answers[0]?.vault?.id);
  });

  it("do not exist for another workspace", async () => {
    const ref = { workspaceId: "wrkspc_stranger", vaultId: await newVault() };
    const gone = { kind: "notFound" };
    await expect(vault.client.getVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.updateVault({ ...ref, displayName: "x" })).rejects.toMatchObject(gone);
    await expect(vault.client.archiveVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.deleteVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.listCredentials(ref)).rejects.toMatchObject(gone);
    const authJson = bearer("https://mcp.example/");
    await expect(vault.client.createCredential({ ...ref, authJson })).rejects.toMatchObject(gone);
  });
});
