import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { readTextIfThere, writePrivateFile } from "./private-file.ts";

/** The workspace of the one key of a development platform. */
export const devWorkspace = "wrkspc_dev";

/** Keys of a development platform: made once, kept with the data, each file readable by its owner only. */
export interface DevSecrets {
  readonly apiKey: string;
  /** For the gateway: `{"keys":[{"id","workspace_id","sha256","created_at","harness"}]}`. It never holds the key itself. */
  readonly apiKeysFile: string;
  /** For the vault-proxy: 32 random bytes in base64, encrypting every credential. */
  readonly vaultKeyFile: string;
}

/** Reads the keys of this data folder, or makes them on its first start. `now` is written down as their age. */
export function ensureDevSecrets(dataDir: string, now: Date): DevSecrets {
  const apiKey = keep(join(dataDir, "api-key"), () => `mh-dev-${randomBytes(24).toString("base64url")}`);
  const apiKeysFile = join(dataDir, "api-keys.json");
  const sha256 = createHash("sha256").update(apiKey).digest("hex");
  if (!(readTextIfThere(apiKeysFile) ?? "").includes(sha256)) {
    const names = { id: "apikey_dev", workspace_id: devWorkspace };
    // On one's own machine the same key may also drive sessions, as examples/python-harness does.
    const key = { ...names, sha256, created_at: now.toISOString(), harness: true };
    writePrivateFile(apiKeysFile, `${JSON.stringify({ keys: [key] }, null, 2)}\n`);
  }
  const vaultKeyFile = join(dataDir, "vault-key");
  keep(vaultKeyFile, () => randomBytes(32).toString("base64"));
  return { apiKey, apiKeysFile, vaultKeyFile };
}

function keep(file: string, make: () => string): string {
  const existing = readTextIfThere(file)?.trim();
  if (existing !== undefined && existing !== "") return existing;
  const made = make();
  writePrivateFile(file, `${made}\n`);
  return made;
}
