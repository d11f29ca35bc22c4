import { AppError } from "@manyhands/kit";
import { afterEach, describe, expect, it } from "vitest";
import { memoryBuckets, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const SECRET = "canary-change-0123456789";
const authJson = Buffer.from(
  JSON.stringify({ type: "static_bearer", mcp_server_url: "https://mcp.example.com/", token: SECRET }),
);

describe("changes", () => {
  let vault: TestVaultProxy;
  afterEach(() => vault?.stop());

  it("are written down, each with what it was made of, reads are not, and no value is", async () => {
    vault = await startVaultProxy();
    const { client } = vault;
    const made = await client.createVault({ workspaceId: WORKSPACE, displayName: "v" });
    const vaultId = made.vault?.id ?? "";
    const ref = { workspaceId: WORKSPACE, vaultId };
    const { credential } = await client.createCredential({ ...ref, displayName: "c", authJson });
    const credentialId = credential?.id ?? "";
    await client.getCredential({ ...ref, credentialId });
    await client.listVaults({ workspaceId: WORKSPACE });
    await client.updateCredential({ ...ref, credentialId, displayName: "d" });
    await client.archiveCredential({ ...ref, credentialId });
    await client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_1", vaultIds: [vaultId] });
    await client.revokeSession({ sessionId: "sesn_1" });
    await client.deleteVault(ref);
    const facts = vault.changes.map(({ rpc, vaultId: id, credentialId: of, sessionId }) => [rpc, id, of, sessionId]);
    expect(facts).toEqual([
      ["CreateVault", vaultId, "", ""],
      ["CreateCredential", vaultId, credentialId, ""],
      ["UpdateCredential", vaultId, credentialId, ""],
      ["ArchiveCredential", vaultId, credentialId, ""],
      ["BindSession", "", "", "sesn_1"],
      ["RevokeSession", "", "", "sesn_1"],
      ["DeleteVault", vaultId, "", ""],
    ]);
    expect(vault.changes.every(({ requestId, id, changedAt }) => requestId !== "" && id !== "" && changedAt)).toBe(
      true,
    );
    expect(JSON.stringify(vault.changes, (_, one) => (typeof one === "bigint" ? String(one) : one))).not.toContain(
      SECRET,
    );
  });

  it("that are refused leave no fact, and one whose fact is not stored is not answered as done", async () => {
    let down = false;
    const written: string[] = [];
    vault = await startVaultProxy({
      overrides: {
        buckets: memoryBuckets(),
        changes: async ({ rpc }) => {
          if (down) throw AppError.unavailable("AUDIT_NOT_STORED", "the audit fact is not known to be stored");
          written.push(rpc);
        },
      },
    });
    const { client } = vault;
    await expect(client.deleteVault({ workspaceId: WORKSPACE, vaultId: "vlt_none" })).rejects.toThrow(/vlt_none/);
    expect(written).toEqual([]);
    down = true;
    const request = { workspaceId: WORKSPACE, displayName: "v", requestId: "once" };
    await expect(client.createVault(request)).rejects.toMatchObject({ reason: "AUDIT_NOT_STORED" });
    down = false;
    await client.createVault(request);
    expect((await client.listVaults({ workspaceId: WORKSPACE })).vaults).toHaveLength(1);
    expect(written).toEqual(["CreateVault"]);
  });
});
