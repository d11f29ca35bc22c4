// First start of the compose file: makes the installation's secrets in their volume, once, and prints the API key.
// Later starts only refresh what came in by environment. Runs as root in a throw-away container without network.
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const service = 65532; // the uid that the services run as
const keep = (file, make) => {
  if (!existsSync(file)) write(file, make());
  return readFileSync(file, "utf8").trim();
};
const write = (file, text) => {
  writeFileSync(`${file}.new`, text, { mode: 0o400 });
  chownSync(`${file}.new`, service, service);
  renameSync(`${file}.new`, file);
};

for (const folder of ["/secrets/vault", "/secrets/demo-model", "/secrets/gateway", "/secrets/operator"]) {
  mkdirSync(folder, { recursive: true, mode: 0o500 });
  chownSync(folder, service, service);
}
chmodSync("/secrets/operator", 0o700);

keep("/secrets/vault/key-encryption-key", () => randomBytes(32).toString("base64"));
keep("/secrets/demo-model/key", () => `demo-${randomBytes(24).toString("base64url")}`);
write("/secrets/vault/model-api-key", process.env.ANTHROPIC_API_KEY ?? "");

const fresh = !existsSync("/secrets/operator/api-key");
const apiKey = keep("/secrets/operator/api-key", () => `mh-${randomBytes(24).toString("base64url")}`);
const sha256 = createHash("sha256").update(apiKey).digest("hex");
const keys = [{ id: "apikey_first", workspace_id: "wrkspc_default", sha256, created_at: new Date().toISOString() }];
keep("/secrets/gateway/api-keys.json", () => JSON.stringify({ keys }, null, 2));

const words = fresh ? "API key of this installation" : "API key made at the first start";
process.stdout.write(`${words}: ${apiKey}\n(again: docker compose run --rm secrets)\n`);
