/**
 * Is a credential anywhere but in the vault? A real platform, a session that uses one credential of every kind and a
 * model that steals; then everything is looked through. And the same search over a platform that leaks on purpose: a
 * place where that is not found is a place where nothing was proved.
 */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { createDemoModel } from "@manyhands/demo-model";
import { type Platform, type Progress, type ServiceName, startPlatform } from "@manyhands/local";
import { tempDir } from "@manyhands/testkit";
import { type Canary, canary, Sweeper, type Swept } from "./canaries.ts";
import { DUMPED, dumpOptions, sweepDumps } from "./dumps.ts";
import * as places from "./places.ts";
import { echoingScenario, hostileScenario } from "./scenario.ts";
import { startUpstreams, type Upstreams } from "./upstreams.ts";

/** What `npm run leaks` prints. */
export type LeaksReport = {
  readonly canaries: number;
  readonly places_swept: number;
  readonly bytes_swept: number;
  readonly hits: number;
  /** Of the places swept, those where the leak of the self-test was found; all, or the proof has a hole. */
  readonly selftest_places_found: number;
  readonly selftest_places_missed: readonly string[];
  readonly rows: readonly {
    place: string;
    bytes: number;
    hits: number;
    where: readonly string[];
    selftest_found: boolean;
  }[];
};

const leakingBuild = path.join(import.meta.dirname, "leaking-build.mjs");
const leakyServices: readonly ServiceName[] = ["gateway", "harness", "sandbox-manager", "session-store"];
/** What the operator gave the vault-proxy lies in files of its own. */
const VAULT_FILES = ["model-key", "vault.key", "key-encryption-key"];

/** Runs both parts. */
export async function runLeaks({ progress }: { progress: Progress }): Promise<LeaksReport> {
  progress("a session with a credential of every kind, and a model that steals");
  const real = await sweepRealSession(progress);
  progress("the same search where everything leaks on purpose");
  const leaky = await sweepLeakingBuild(progress);
  const rows = [...real.places].map(({ place, bytes, hits }) => ({
    place,
    bytes,
    hits: hits.length,
    where: hits.map((hit) => `${hit.canary} (${hit.spelling}) in ${hit.where}`),
    selftest_found: (leaky.find((one) => one.place === place)?.hits.length ?? 0) > 0,
  }));
  const missed = rows.filter((row) => !row.selftest_found).map(({ place }) => place);
  return {
    canaries: real.canaries,
    places_swept: rows.length,
    bytes_swept: rows.reduce((sum, { bytes }) => sum + bytes, 0),
    hits: rows.reduce((sum, { hits }) => sum + hits, 0),
    selftest_places_found: rows.length - missed.length,
    selftest_places_missed: missed,
    rows,
  };
}

async function sweepRealSession(progress: Progress): Promise<{ canaries: number; places: readonly Swept[] }> {
  const planted = {
    git: canary("git"),
    bearer: canary("bearer"),
    variable: canary("variable"),
    model: canary("model"),
  };
  const derived = { access: canary("access"), refresh: canary("refresh") };
  const upstreams = await startUpstreams(planted.git, planted.bearer, derived);
  const granted = upstreams.oauth.grant();
  const scenario = hostileScenario({ repository: upstreams.git.repoUrl("app"), api: upstreams.api });
  const model = await createDemoModel({
    listen: "127.0.0.1:0",
    scenarios: [scenario],
    requiredKey: planted.model.value,
  });
  const dir = await tempDir("manyhands-leaks-");
  await mkdir(dumpsOf(dir.path));
  const ca = path.join(dir.path, "upstream-ca.pem");
  await writeFile(ca, upstreams.apiCa);
  const platform = await startPlatform({
    stateDir: path.join(dir.path, "state"),
    handDriver: "docker",
    model: { url: model.url, key: planted.model.value },
    env: {
      ...Object.fromEntries(DUMPED.map((service) => [service, { NODE_OPTIONS: dumpOptions(dumpsOf(dir.path)) }])),
      "vault-proxy": {
        NODE_EXTRA_CA_CERTS: ca,
        MH_EGRESS_PRIVATE_RANGES: "127.0.0.0/8",
        MH_MCP_PRIVATE_RANGES: "127.0.0.0/8",
      },
    },
    progress,
  });
  try {
    const client = clientOf(platform);
    const sessionId = await plant(client, upstreams, granted, planted);
    // The gateway had the credentials in its hands on their way in; from here on it has no business with them.
    await platform.restart("gateway", 1);
    await platform.whenReady("gateway", 1);
    upstreams.oauth.expireAll();
    const heard = await runSession(platform, sessionId, "Please look for every credential you can find.");
    assertUsed(upstreams, planted, derived);
    const tokens = new Set([granted.access_token, granted.refresh_token, ...bearersOf(upstreams.oauthMcp.tokens)]);
    const canaries = [
      ...Object.values(planted),
      ...Object.values(derived),
      ...[...tokens].map((value) => ({ kind: "oauth", value })),
    ];
    const sweeper = new Sweeper(canaries);
    await sweepAll(sweeper, platform, path.join(dir.path, "state"), sessionId, heard);
    return { canaries: canaries.length, places: [...sweeper.places.values()] };
  } finally {
    await platform.stop();
    await model.close();
    await upstreams.stop();
    await dir.cleanup();
  }
}

async function sweepLeakingBuild(progress: Progress): Promise<readonly Swept[]> {
  const marker = canary("selftest");
  const model = await createDemoModel({ listen: "127.0.0.1:0", scenarios: [echoingScenario] });
  const dir = await tempDir("manyhands-leaks-");
  await mkdir(dumpsOf(dir.path));
  const options = `--import=${leakingBuild} ${dumpOptions(dumpsOf(dir.path))}`;
  const leak = { NODE_OPTIONS: options, LEAKS_MARKER: marker.value };
  const platform = await startPlatform({
    stateDir: path.join(dir.path, "state"),
    handDriver: "docker",
    model: { url: model.url, key: "unused" },
    env: Object.fromEntries(leakyServices.map((service) => [service, leak])),
    progress,
  });
  try {
    const client = clientOf(platform);
    const agent = await client.beta.agents.create({
      name: "echo",
      model: "claude",
      tools: [{ type: "agent_toolset_20260401" }],
    });
    const environment = await client.beta.environments.create({ name: "leaks", config: { type: "cloud" } });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const heard = await runSession(platform, session.id, `Please repeat ${marker.value}`);
    const sweeper = new Sweeper([marker]);
    await sweepAll(sweeper, platform, path.join(dir.path, "state"), session.id, heard);
    return [...sweeper.places.values()];
  } finally {
    await platform.stop();
    await model.close();
    await dir.cleanup();
  }
}

function clientOf(platform: Platform): Anthropic {
  const { gateway_url: baseURL, api_key: apiKey } = platform.devJson;
  return new Anthropic({ baseURL, apiKey, maxRetries: 2 });
}

type Planted = Readonly<Record<"git" | "bearer" | "variable" | "model", Canary>>;
type Granted = ReturnType<Upstreams["oauth"]["grant"]>;

/** Puts every credential where its owner would, and makes a session that may use them all. */
async function plant(client: Anthropic, upstreams: Upstreams, granted: Granted, planted: Planted): Promise<string> {
  const vault = await client.beta.vaults.create({ display_name: "leaks" });
  const { bearer, oauthMcp, oauth } = upstreams;
  const add = (auth: Parameters<typeof client.beta.vaults.credentials.create>[1]["auth"]) =>
    client.beta.vaults.credentials.create(vault.id, { auth });
  await add({ type: "static_bearer", mcp_server_url: bearer.url, token: planted.bearer.value });
  await add({
    type: "mcp_oauth",
    mcp_server_url: oauthMcp.url,
    access_token: granted.access_token,
    refresh: {
      client_id: "leaks",
      token_endpoint: oauth.url,
      token_endpoint_auth: { type: "none" },
      refresh_token: granted.refresh_token,
    },
  });
  await add({
    type: "environment_variable",
    secret_name: "API_KEY",
    secret_value: planted.variable.value,
    networking: { type: "limited", allowed_hosts: ["127.0.0.2"] },
  });
  const allowed = { default_config: { permission_policy: { type: "always_allow" as const } } };
  const servers = [
    ["bearer", bearer.url],
    ["oauth", oauthMcp.url],
  ] as const;
  const agent = await client.beta.agents.create({
    name: "thief",
    model: "claude",
    tools: [
      { type: "agent_toolset_20260401" },
      ...servers.map(([name]) => ({ type: "mcp_toolset" as const, mcp_server_name: name, ...allowed })),
    ],
    mcp_servers: servers.map(([name, url]) => ({ type: "url" as const, name, url })),
  });
  const config = { type: "cloud" as const, networking: { type: "unrestricted" as const } };
  const environment = await client.beta.environments.create({ name: "leaks", config });
  const session = await client.beta.sessions.create({
    agent: agent.id,
    environment_id: environment.id,
    vault_ids: [vault.id],
    resources: [
      {
        type: "github_repository",
        url: upstreams.git.repoUrl("app"),
        authorization_token: planted.git.value,
      },
    ],
  });
  return session.id;
}

async function runSession(platform: Platform, sessionId: string, text: string): Promise<places.Heard[]> {
  const client = clientOf(platform);
  const bus = await places.listenToBus(platform.devJson.nats_url);
  const sse = await places.listenToSse(client, sessionId);
  await client.beta.sessions.events.send(sessionId, {
    events: [{ type: "user.message", content: [{ type: "text", text }] }],
  });
  await sse.stop();
  await bus.stop();
  return [bus, sse];
}

/** A credential that was not used proves nothing. */
function assertUsed(
  upstreams: Upstreams,
  planted: Planted,
  derived: Readonly<Record<"access" | "refresh", Canary>>,
): void {
  const pushed = upstreams.git.requests.some((one) => one.authorized && one.target.endsWith("/git-receive-pack"));
  const unused = [
    ["git", pushed],
    ["environment variable", upstreams.shown.has(planted.variable.value)],
    ["derived access token", upstreams.shown.has(derived.access.value)],
    ["derived refresh token", upstreams.shown.has(derived.refresh.value)],
    ["MCP bearer", bearersOf(upstreams.bearer.tokens).includes(planted.bearer.value)],
    ["MCP OAuth, renewed", upstreams.oauth.rotations() > 0 && upstreams.oauthMcp.written !== undefined],
  ].flatMap(([name, used]) => (used ? [] : [name]));
  if (unused.length > 0) throw new Error(`these credentials were not used, so nothing is proved: ${unused.join(", ")}`);
}

function bearersOf(headers: readonly (string | undefined)[]): string[] {
  return headers.flatMap((header) => header?.replace(/^Bearer /i, "") || []);
}

/** Where a run's dumps go until they are looked through. */
function dumpsOf(dir: string): string {
  return path.join(dir, "dumps");
}

async function sweepAll(
  sweeper: Sweeper,
  platform: Platform,
  stateDir: string,
  sessionId: string,
  heard: readonly places.Heard[],
): Promise<void> {
  // Memory first: looking elsewhere makes the services forget.
  await places.sweepProcesses(sweeper, platform);
  for (const one of heard) one.look(sweeper);
  await places.sweepLog(sweeper, platform.devJson, sessionId);
  await places.sweepAnswers(sweeper, platform.devJson, sessionId);
  await places.sweepHands(sweeper, sessionId);
  await places.sweepMetrics(sweeper, stateDir);
  await mkdir(path.join(stateDir, "logs"), { recursive: true });
  await places.sweepFiles(sweeper, "logs", path.join(stateDir, "logs"));
  await places.sweepFiles(sweeper, "NATS on disk", path.join(stateDir, "data", "nats"));
  await places.sweepFiles(sweeper, "other files", path.join(stateDir, "run"), VAULT_FILES);
  await sweepDumps(sweeper, platform, dumpsOf(path.dirname(stateDir)), path.join(stateDir, "run"));
}
