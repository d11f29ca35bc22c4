import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { ensureDevSecrets } from "./dev-secrets.ts";

it("makes the keys once, private to their owner, and never stores the API key where the gateway reads", async () => {
  await using dir = await tempDir();
  const first = ensureDevSecrets(dir.path, new Date(0));
  expect(ensureDevSecrets(dir.path, new Date(1))).toEqual(first);

  const keys = readFileSync(first.apiKeysFile, "utf8");
  expect(keys).not.toContain(first.apiKey);
  const sha256 = createHash("sha256").update(first.apiKey).digest("hex");
  expect(JSON.parse(keys)).toEqual({
    keys: [
      { id: "apikey_dev", workspace_id: "wrkspc_dev", sha256, created_at: "1970-01-01T00:00:00.000Z", harness: true },
    ],
  });
  expect(Buffer.from(readFileSync(first.vaultKeyFile, "utf8"), "base64")).toHaveLength(32);
  for (const file of ["api-key", "api-keys.json", "vault-key"]) {
    expect(statSync(join(dir.path, file)).mode & 0o777).toBe(0o600);
  }
});
