import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const run = promisify(execFile);
let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());

describe("contract", () => {
  it("lists every method to buf curl", async () => {
    const address = `http://${addressOf(vault.proxy, "grpc")}`;
    const curl = (...args: string[]) => run("buf", ["curl", "--protocol", "grpc", "--http2-prior-knowledge", ...args]);
    const { stdout } = await curl("--list-methods", address);
    for (const method of ["CreateVault", "MintSessionToken", "CallTool"]) {
      expect(stdout).toContain(`manyhands.vault.v1.VaultService/${method}`);
    }
    await vault.client.createVault({ workspaceId: WORKSPACE, displayName: "Mine" });
    const path = `${address}/manyhands.vault.v1.VaultService/ListVaults`;
    expect((await curl("-d", `{"workspaceId":"${WORKSPACE}","pageSize":1}`, path)).stdout).toContain("vlt_");
  });
});
