/** The places a credential must not be in, and how each is looked through. */
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import type Anthropic from "@anthropic-ai/sdk";
import { connectBus } from "@manyhands/bus";
import { createRpcClient, silentLogger } from "@manyhands/kit";
import { containersOfSession, type DevJson, type Platform, readContainer } from "@manyhands/local";
import { SessionService } from "@manyhands/protocol";
import type { Sweeper } from "./canaries.ts";
import { sweepProcess } from "./memory.ts";

/** Services whose memory is looked through: all but the vault-proxy, which has to know. */
const LOOKED_INTO = ["gateway", "harness", "sandbox-manager", "session-store", "nats"];
const MAX_FILE_BYTES = 512 * 1024 * 1024;
const MAX_HEARD = 100_000;
const TURN_MS = 180_000;
const page = 200;

const json = (value: unknown) => JSON.stringify(value, (_, one) => (typeof one === "bigint" ? String(one) : one));
/** Bytes fields as text, so that what is inside is found. */
const readable = (value: unknown) =>
  JSON.stringify(value, (_, one: unknown) => {
    if (typeof one === "bigint") return String(one);
    return one instanceof Uint8Array ? Buffer.from(one).toString("latin1") : one;
  });

/** What was heard, kept until all credentials are known: tokens are renewed while sessions run. */
export type Heard = { stop(): Promise<void>; look(sweeper: Sweeper): void };

/** Everything on the bus from now on, tails and deltas included, byte for byte. */
export async function listenToBus(natsUrl: string): Promise<Heard> {
  const bus = await connectBus({ url: natsUrl, name: "leaks", logger: silentLogger() });
  const heard: { subject: string; data: Buffer }[] = [];
  const subscription = bus.connection.subscribe("mh.>", {
    callback: (error, message) => {
      if (!error && heard.length < MAX_HEARD) heard.push({ subject: message.subject, data: Buffer.from(message.data) });
    },
  });
  return {
    async stop() {
      await subscription.drain();
      await bus.close();
    },
    look(sweeper) {
      for (const { subject, data } of heard) sweeper.look("bus", subject, data);
    },
  };
}

/** The raw bytes of a session's event stream over HTTP; `stop` waits for the end of its turn. */
export async function listenToSse(client: Anthropic, sessionId: string): Promise<Heard> {
  const late = AbortSignal.timeout(TURN_MS);
  const kinds = { event_deltas: ["agent.message" as const, "agent.thinking" as const] };
  const response = await client.beta.sessions.events.stream(sessionId, kinds, { signal: late }).asResponse();
  let text = "";
  const over = (async () => {
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      if (/"session\.status_(idle|terminated)"/.test(text)) return;
    }
  })();
  return { stop: () => over, look: (sweeper) => sweeper.look("SSE stream", sessionId, text) };
}

/** The log over gRPC: read with all that was moved out of it, and watched. */
export async function sweepLog(sweeper: Sweeper, facts: DevJson, sessionId: string): Promise<void> {
  const store = createRpcClient(SessionService, { address: facts.grpc.session_store, defaultDeadlineMs: 30_000 });
  try {
    let from = 0n;
    let head = 1n;
    while (from < head) {
      const slice = { case: "range", value: { from, to: from + BigInt(page) } } as const;
      const answer = await store.getEvents({ sessionId, includePlatform: true, includeBlobs: true, slice });
      sweeper.look("event log and blobs", sessionId, readable(answer.events));
      head = answer.headPosition;
      from += BigInt(page);
    }
    const stop = new AbortController();
    const start = { case: "fromPosition", value: 0n } as const;
    for await (const { item } of store.watchEvents(
      { sessionId, includePlatform: true, start },
      { signal: stop.signal },
    )) {
      sweeper.look("gRPC stream", sessionId, readable(item));
      if (item?.case === "caughtUp") break;
    }
    stop.abort();
  } finally {
    store.close();
  }
}

/** What the API answers of the session, and what it says to bad requests. */
export async function sweepAnswers(sweeper: Sweeper, facts: DevJson, sessionId: string): Promise<void> {
  const ask = async (place: string, target: string, init: RequestInit = {}) => {
    const headers = {
      "x-api-key": facts.api_key,
      "anthropic-version": "2023-06-01",
      "content-type": "application/json",
    };
    const response = await fetch(`${facts.gateway_url}${target}`, { ...init, headers });
    sweeper.look(place, target, `${json([...response.headers])}${await response.text()}`);
  };
  const session = `/v1/sessions/${sessionId}`;
  for (const target of [session, `${session}/events?limit=1000`, `${session}/resources`, "/v1/vaults", "/v1/agents"]) {
    await ask("API answers", `${target}${target.includes("?") ? "&" : "?"}beta=true`);
  }
  await ask("error bodies", "/v1/sessions/sesn_none?beta=true");
  await ask("error bodies", `${session}/events?beta=true`, {
    method: "POST",
    body: '{"events":[{"type":"nonsense"}]}',
  });
  await ask("error bodies", `${session}/events?beta=true`, { method: "POST", body: "{" });
  await ask("error bodies", "/v1/vaults/vlt_none?beta=true");
  await ask("error bodies", "/nowhere");
}

/** Everything a hand's programs, or its root, can read. */
export async function sweepHands(sweeper: Sweeper, sessionId: string): Promise<void> {
  const containers = await containersOfSession(sessionId);
  if (containers.length === 0) throw new Error(`session ${sessionId} has no hand to look into`);
  for (const container of containers) {
    for (const user of ["65532:65532", "0:0"]) {
      sweeper.look("hands", `${container.slice(0, 12)} as ${user}`, await readContainer(container, user));
    }
  }
}

/** Memory and environment of every process that has no business with a credential. */
export async function sweepProcesses(sweeper: Sweeper, platform: Platform): Promise<void> {
  for (const { service, index, pid } of platform.processes()) {
    if (LOOKED_INTO.includes(service)) await sweepProcess(sweeper, `${service}-${index}`, pid);
  }
}

/** Figures of every service, by their admin listeners. */
export async function sweepMetrics(sweeper: Sweeper, stateDir: string): Promise<void> {
  const folder = path.join(stateDir, "run");
  for (const name of (await readdir(folder)).filter((file) => file.endsWith(".ready.json"))) {
    const { addresses }: { addresses: Record<string, string> } = JSON.parse(
      await readFile(path.join(folder, name), "utf8"),
    );
    if (addresses.admin === undefined) continue;
    const response = await fetch(`http://${addresses.admin}/metrics`);
    sweeper.look("metrics", name, await response.text());
  }
}

/** Every file of a folder; `except` are the vault's own key and what an operator gave it. */
export async function sweepFiles(
  sweeper: Sweeper,
  place: string,
  folder: string,
  except: readonly string[] = [],
): Promise<void> {
  for (const name of await readdir(folder, { recursive: true })) {
    const file = path.join(folder, name);
    const facts = await stat(file).catch(() => undefined);
    if (!facts?.isFile() || except.includes(path.basename(file))) continue;
    if (facts.size > MAX_FILE_BYTES) throw new Error(`${file} is too long to be looked through`);
    sweeper.look(place, name, await readFile(file).catch(() => Buffer.alloc(0)));
  }
}
