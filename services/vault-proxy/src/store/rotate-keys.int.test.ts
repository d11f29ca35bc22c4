/** Rotation of the key-encryption key under use, and what somebody who can write to the store cannot do. */
import { newId } from "@manyhands/kit";
import { tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { memoryBuckets, startVaultProxy, type TestVaultProxy, WORKSPACE, writeKeyFile } from "../testing/start.ts";
import type { SecretDocument } from "./documents.ts";
import { decodeJson, encodeJson } from "./json.ts";

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const buckets = memoryBuckets();
const overrides = { buckets, audit: { write: async () => undefined } };
let folder: Awaited<ReturnType<typeof tempDir>>;
let oldKey: string;
let newKey: string;
beforeAll(async () => {
  folder = await tempDir("manyhands-rotate-");
  oldKey = await writeKeyFile(folder.path, "old");
  newKey = await writeKeyFile(folder.path, "new");
});
afterAll(() => folder.cleanup());

async function withVault<T>(
  keys: { keyFile: string; otherKeyFiles?: string[] },
  work: (vault: TestVaultProxy) => Promise<T>,
) {
  const vault = await startVaultProxy({ ...keys, overrides });
  try {
    return await work(vault);
  } finally {
    await vault.stop();
  }
}

async function credential(vault: TestVaultProxy, token: string) {
  const { vault: made } = await vault.client.createVault({ workspaceId: WORKSPACE, displayName: "v" });
  const authJson = json({ type: "static_bearer", mcp_server_url: `https://mcp.example/${newId("x")}`, token });
  const vaultId = made?.id ?? "";
  const { credential: stored } = await vault.client.createCredential({ workspaceId: WORKSPACE, vaultId, authJson });
  return { workspace: WORKSPACE, vault: vaultId, credential: stored?.id ?? "" };
}

const tokenOf = async (vault: TestVaultProxy, ref: Awaited<ReturnType<typeof credential>>) =>
  (await vault.proxy.deps.credentials.reveal(ref)).token?.reveal();

it("seals everything anew with a new key while it is used, after which the old key is not needed", async () => {
  const refs = await withVault({ keyFile: oldKey }, async (vault) => {
    const made = await Promise.all(["one", "two", "three"].map((token) => credential(vault, token)));
    await vault.client.createModelKey({ workspaceId: WORKSPACE, displayName: "k", key: "sk-model" });
    const repositories = [{ url: "https://git.example/a.git", authorizationToken: "ghp_1", allowPush: true }];
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_bound", repositories });
    return made;
  });
  await withVault({ keyFile: newKey, otherKeyFiles: [oldKey] }, async (vault) => {
    const before = await vault.client.rotateKeys({ verifyOnly: true });
    expect(before).toMatchObject({ resealed: 0n, unreadable: 0n });
    expect(Object.keys(before.sealedWith)).not.toContain(before.currentKey);
    const used = Promise.all(Array.from({ length: 40 }, async (_, n) => tokenOf(vault, refs[n % 3] ?? fail())));
    const rotated = await vault.client.rotateKeys({});
    expect(new Set(await used)).toEqual(new Set(["one", "two", "three"]));
    expect(rotated.unreadable).toBe(0n);
    expect(rotated.resealed).toBeGreaterThanOrEqual(6n);
    expect(Object.keys(rotated.sealedWith)).toEqual([rotated.currentKey]);
    expect(await vault.client.rotateKeys({})).toMatchObject({ resealed: 0n, sealedWith: rotated.sealedWith });
  });
  await withVault({ keyFile: newKey }, async (vault) => {
    expect(await Promise.all(refs.map((ref) => tokenOf(vault, ref)))).toEqual(["one", "two", "three"]);
    expect((await vault.proxy.deps.modelKeys.reveal(WORKSPACE))[0]?.value.reveal()).toBe("sk-model");
    expect(await vault.client.rotateKeys({ verifyOnly: true })).toMatchObject({ unreadable: 0n });
  });
  await expect(withVault({ keyFile: oldKey }, async () => undefined)).rejects.toThrow(
    /does not fit the stored secrets/,
  );
});

it("does not open a ciphertext that was moved, swapped, rolled back or altered", async () => {
  await withVault({ keyFile: newKey }, async (vault) => {
    const [a, b] = [await credential(vault, "token of a"), await credential(vault, "token of b")];
    const keyOf = async ({ vault: id, credential: one }: typeof a) =>
      (await buckets.secrets.keys(`secret.${WORKSPACE}.${id}.${one}`))[0] ?? "";
    const read = async (key: string) => (await buckets.secrets.get(key)) ?? fail();
    const put = async (key: string, value: Uint8Array) => {
      await buckets.secrets.purge(key);
      await buckets.secrets.create(key, value);
    };
    const [keyA, keyB] = [await keyOf(a), await keyOf(b)];
    const [sealedA, sealedB] = [(await read(keyA)).value, (await read(keyB)).value];
    const refused = async (what: typeof a) =>
      expect(tokenOf(vault, what)).rejects.toThrow(/does not open|no longer|not found/);

    await put(keyA, sealedB);
    await refused(a);
    const { fields } = decodeJson<SecretDocument>(sealedA);
    const token = fields.token ?? fail();
    await put(keyA, encodeJson({ fields: { secret_value: token } }));
    expect(await tokenOf(vault, a).catch(() => "refused")).not.toBe("token of a");
    const bytes = Buffer.from(token.sealed, "base64");
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await put(keyA, encodeJson({ fields: { token: { ...token, sealed: bytes.toString("base64") } } }));
    await refused(a);
    await put(keyA, sealedA);
    expect(await tokenOf(vault, a)).toBe("token of a");

    const update = { workspaceId: WORKSPACE, vaultId: a.vault, credentialId: a.credential };
    await vault.client.updateCredential({ ...update, authJson: json({ type: "static_bearer", token: "newer" }) });
    await put(keyA, sealedA); // the old version is back in the store: nothing points to it
    expect(await tokenOf(vault, a)).toBe("newer");
    const newer = (await buckets.secrets.keys(`secret.${WORKSPACE}.${a.vault}.${a.credential}`)).find(
      (key) => key !== keyA,
    );
    await put(newer ?? "", sealedA);
    await refused(a);
    expect(await vault.client.rotateKeys({ verifyOnly: true })).toMatchObject({ unreadable: 1n });
  });
});

function fail(): never {
  throw new Error("something that must be there is not");
}
