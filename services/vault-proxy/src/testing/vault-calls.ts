/** For tests only: what the tests of the RPCs call over and over. */
import { randomBytes } from "node:crypto";
import { expect } from "vitest";
import { type TestVaultProxy, WORKSPACE } from "./start.ts";

/** A value as JSON bytes. */
export const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** JSON bytes as a value. */
export const shown = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes));

/** A text that occurs nowhere else. */
export const canary = () => `canary-${randomBytes(12).toString("hex")}`;

/** Matches an error that names these fields. */
export const invalid = (...fields: string[]) => ({
  kind: "invalid",
  details: { fieldViolations: fields.map((field) => expect.objectContaining({ field })) },
});

/** The auth of a bearer credential. */
export const bearer = (url: string, token = canary()) => json({ type: "static_bearer", mcp_server_url: url, token });

/** Calls that most tests begin with. */
export function vaultCalls(vault: () => TestVaultProxy) {
  return {
    async newVault(workspaceId = WORKSPACE): Promise<string> {
      const answer = await vault().client.createVault({ workspaceId, displayName: "Mine", metadata: { team: "a" } });
      return answer.vault?.id ?? "";
    },
    async newCredential(vaultId: string, authJson = bearer(`https://mcp.example/${canary()}`)) {
      const { credential } = await vault().client.createCredential({ workspaceId: WORKSPACE, vaultId, authJson });
      return { workspaceId: WORKSPACE, vaultId, credentialId: credential?.id ?? "" };
    },
    async reveal(ref: { vaultId: string; credentialId: string }): Promise<Record<string, string>> {
      const { credentials } = vault().proxy.deps;
      const named = { workspace: WORKSPACE, vault: ref.vaultId, credential: ref.credentialId };
      const fields = await credentials.reveal(named);
      return Object.fromEntries(Object.entries(fields).map(([name, secret]) => [name, secret.reveal()]));
    },
  };
}
