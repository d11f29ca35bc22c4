/**
 * vault-proxy killed with -9 in the middle of refreshes, tool calls and rotations, over and over. Two replicas: one works
 * and dies, the other one is asked afterwards. The MCP server, the token endpoint and NATS are real; the endpoint rotates
 * refresh tokens and punishes a second use, once with the leeway that many providers give and once without.
 */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { createRpcClient, newId, type RpcClient, toAppError } from "@manyhands/kit";
import { Audience, VaultService } from "@manyhands/protocol";
import { eventually, nodeEnv, startNatsServer, tempDir } from "@manyhands/testkit";
import { startMcpServer, type TestMcpServer } from "../../services/vault-proxy/src/testing/mcp-server.ts";
import { startOauthServer, type TestOauthServer } from "../../services/vault-proxy/src/testing/oauth-server.ts";
import { between, type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import { type StoreProcess, storeProcess } from "./support/store-process.ts";

type Client = RpcClient<typeof VaultService>;

const workspaceId = "wrkspc_rig";
const callsPerRun = 4;
const staticCredentials = 5;
const patienceMs = 30_000;
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** The rig. */
export default function vault(options: RigOptions): Promise<RigReport> {
  const runs = Math.ceil(options.runs / 2);
  return report("vault", options, [
    () => killStorm(options, "kill_9_leeway", runs, true),
    () => killStorm(options, "kill_9_strict", runs, false),
  ]);
}

interface Bed {
  readonly dying: StoreProcess;
  readonly witness: Client;
  readonly mcp: TestMcpServer;
  readonly oauth: TestOauthServer;
  readonly keys: readonly string[];
}

interface Credential {
  readonly vaultId: string;
  readonly credentialId: string;
}

type Counts = Record<
  | "calls"
  | "completed"
  | "unknown"
  | "not_started"
  | "twice"
  | "untrue"
  | "refreshes"
  | "needs_reauth"
  | "burnt_unnoticed"
  | "unreadable",
  number
>;

async function killStorm(
  { seed, signal, progress }: RigOptions,
  name: string,
  runs: number,
  leeway: boolean,
): Promise<RigRow> {
  const random = seededRandom(seed);
  const counts: Counts = {
    calls: 0,
    completed: 0,
    unknown: 0,
    not_started: 0,
    twice: 0,
    untrue: 0,
    refreshes: 0,
    needs_reauth: 0,
    burnt_unnoticed: 0,
    unreadable: 0,
  };
  const problems: string[] = [];
  const { bed, close } = await openBed(leeway);
  try {
    const oauth = await oauthCredential(bed);
    const statics = await storeStatics(bed);
    const session = await bind(bed.witness, [oauth.vaultId], bed.mcp.url);
    for (let run = 0; run < runs; run += 1) {
      signal.throwIfAborted();
      await oneRun(
        bed,
        oauth,
        session,
        { at: moments[run % moments.length] ?? "any", delayMs: between(random, 0, 120) },
        counts,
      );
      if (run % 10 === 9) progress(`${name}: ${run + 1} of ${runs}: ${JSON.stringify(counts)}`);
    }
    const last = await bed.witness.rotateKeys({}, { deadlineMs: patienceMs });
    counts.unreadable += Number(last.unreadable);
    if (Object.keys(last.sealedWith).join() !== last.currentKey) problems.push("an old key is still needed");
    for (const [token, url, vaultId] of statics) {
      const { tools } = await bed.witness.listTools({ token: await bind(bed.witness, [vaultId], url) });
      if (tools.length === 0 || bed.mcp.tokens.at(-1) !== `Bearer ${token}`)
        problems.push(`a static credential is lost`);
    }
    counts.refreshes = bed.oauth.rotations();
  } finally {
    await close();
  }
  const bars = [
    counts.twice,
    counts.untrue,
    counts.burnt_unnoticed,
    counts.unreadable,
    leeway ? counts.needs_reauth : 0,
  ];
  return { name, ok: bars.every((bar) => bar === 0) && problems.length === 0, kills: runs, ...counts, problems };
}

/** When the process dies: while the token endpoint answers, while the tool answers, or whenever. */
const moments = ["refresh", "call", "any"] as const;
type Moment = { readonly at: (typeof moments)[number]; readonly delayMs: number };

async function oneRun(bed: Bed, credential: Credential, token: string, moment: Moment, counts: Counts): Promise<void> {
  await bed.dying.start();
  // A new one each time: the old one's connection may still be waiting before it looks for its server again.
  const client = clientOf(bed.dying);
  const asked = bed.oauth.requests();
  bed.oauth.expireAll();
  const operations = Array.from({ length: callsPerRun }, () => newId("sevt"));
  const work = [
    ...operations.map((operation) => write(client, token, operation)),
    client.rotateKeys({}, { deadlineMs: patienceMs }),
  ].map((one) => one.catch(() => undefined));
  await reached(bed, operations, asked, moment);
  await bed.dying.kill9();
  await Promise.all(work);
  client.close();
  for (const operation of operations) await judgeCall(bed, token, operation, counts);
  await judgeCredential(bed, credential, token, counts);
  counts.unreadable += Number(
    (await bed.witness.rotateKeys({ verifyOnly: true }, { deadlineMs: patienceMs })).unreadable,
  );
}

async function reached(bed: Bed, operations: readonly string[], asked: number, { at, delayMs }: Moment): Promise<void> {
  if (at === "any") return new Promise((resolve) => setTimeout(resolve, delayMs));
  const isNow = () =>
    at === "refresh"
      ? bed.oauth.requests() > asked
      : operations.some((operation) => bed.mcp.written.includes(operation));
  await eventually(isNow, { timeoutMs: patienceMs, everyMs: 1 });
}

/** What the other replica says about a call must be true, and the call must have had its effect once at most. */
async function judgeCall(bed: Bed, token: string, operation: string, counts: Counts): Promise<void> {
  const { outcome } = await write(bed.witness, token, operation);
  const effects = bed.mcp.written.filter((text) => text === operation).length;
  counts.calls += 1;
  if (effects > 1) counts.twice += 1;
  if (outcome === "COMPLETED") counts.completed += 1;
  else if (outcome === "NOT_STARTED") counts.not_started += 1;
  else counts.unknown += 1;
  if ((outcome === "COMPLETED" && effects !== 1) || (outcome === "NOT_STARTED" && effects !== 0)) counts.untrue += 1;
}

/** The credential works, or says that it does not; anything else is a burnt token that nobody knows of. */
async function judgeCredential(bed: Bed, credential: Credential, token: string, counts: Counts): Promise<void> {
  const ref = { workspaceId, ...credential };
  const end = await eventually(
    async () => {
      const { outcome } = await write(bed.witness, token, newId("sevt"));
      if (outcome === "COMPLETED") return "works";
      const { credential: stored } = await bed.witness.getCredential(ref);
      return stored !== undefined && stored.needsReauth !== "" ? "says so" : "";
    },
    { timeoutMs: patienceMs, everyMs: 250 },
  ).catch(() => "unnoticed");
  if (end === "works") return;
  counts[end === "says so" ? "needs_reauth" : "burnt_unnoticed"] += 1;
  const { access_token, refresh_token } = bed.oauth.grant();
  const auth = { type: "mcp_oauth", access_token, refresh: { refresh_token } };
  await bed.witness.updateCredential({ ...ref, authJson: json(auth) });
}

async function write(client: Client, token: string, operationId: string): Promise<{ outcome: string }> {
  const request = { token, operationId, mcpServerName: "s", name: "write", inputJson: json({ text: operationId }) };
  try {
    return await client.callTool(request, { deadlineMs: patienceMs });
  } catch (error) {
    const { kind, reason } = toAppError(error);
    throw new Error(`a call was answered with ${kind} ${reason}`, { cause: error });
  }
}

async function openBed(leeway: boolean): Promise<{ bed: Bed; close: () => Promise<void> }> {
  const folder = await tempDir("manyhands-vault-rig-");
  const keys = await Promise.all(
    ["one", "two"].map(async (file) => {
      const keyFile = path.join(folder.path, file);
      await writeFile(keyFile, randomBytes(32).toString("base64"), { mode: 0o600 });
      return keyFile;
    }),
  );
  const nats = await startNatsServer();
  const oauth = await startOauthServer({ leeway, answerMs: 20 });
  const mcp = await startMcpServer({
    accepts: (token) => oauth.accepts(token) || token?.startsWith("static-") === true,
    answerMs: 15,
  });
  const env = {
    MH_NATS_URL: nats.url,
    MH_SESSION_STORE_ADDR: "127.0.0.1:1",
    MH_MODEL_UPSTREAM_URL: "http://127.0.0.1:1",
    MH_MCP_PRIVATE_RANGES: "127.0.0.0/8",
    MH_RECEIPT_LEASE_MS: "800",
    MH_REFRESH_LEASE_MS: "1500",
    ...nodeEnv(),
  };
  // The one that dies seals with the first key, the witness with the second: a rotation always has something to do.
  const [one = "", two = ""] = keys;
  const witness = await storeProcess({ ...env, MH_VAULT_KEY_FILE: two, MH_VAULT_OTHER_KEY_FILES: one }, "vault-proxy");
  await witness.start();
  const dying = await storeProcess({ ...env, MH_VAULT_KEY_FILE: one, MH_VAULT_OTHER_KEY_FILES: two }, "vault-proxy");
  const bed = { dying, witness: clientOf(witness), mcp, oauth, keys };
  const close = async () => {
    bed.witness.close();
    await Promise.all([dying.stop(), witness.stop()]);
    await Promise.all([mcp.close(), oauth.close(), nats.stop()]);
    await folder.cleanup();
  };
  return { bed, close };
}

function clientOf({ address }: StoreProcess): Client {
  return createRpcClient(VaultService, { address, defaultDeadlineMs: 20_000 });
}

async function newVault(client: Client, auth: object): Promise<Credential> {
  const { vault: made } = await client.createVault({ workspaceId, displayName: "rig" });
  const vaultId = made?.id ?? "";
  const { credential } = await client.createCredential({ workspaceId, vaultId, authJson: json(auth) });
  return { vaultId, credentialId: credential?.id ?? "" };
}

function oauthCredential({ witness, oauth, mcp }: Bed): Promise<Credential> {
  const { access_token, refresh_token } = oauth.grant();
  return newVault(witness, {
    type: "mcp_oauth",
    mcp_server_url: mcp.url,
    access_token,
    refresh: { client_id: "rig", refresh_token, token_endpoint: oauth.url, token_endpoint_auth: { type: "none" } },
  });
}

async function storeStatics({ witness, mcp }: Bed): Promise<(readonly [string, string, string])[]> {
  const stored: (readonly [string, string, string])[] = [];
  for (let index = 0; index < staticCredentials; index += 1) {
    const [token, url] = [`static-${index}`, `${mcp.url}?n=${index}`];
    const { vaultId } = await newVault(witness, { type: "static_bearer", mcp_server_url: url, token });
    stored.push([token, url, vaultId]);
  }
  return stored;
}

async function bind(client: Client, vaultIds: string[], url: string): Promise<string> {
  const sessionId = newId("sesn");
  await client.bindSession({ workspaceId, sessionId, vaultIds, mcpServers: [{ name: "s", url }] });
  const ttl = { seconds: 3600n, nanos: 0 };
  return (await client.mintSessionToken({ sessionId, audiences: [Audience.MCP], ttl })).token;
}
