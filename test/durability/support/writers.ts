/**
 * Writers that keep a ledger of what they were told is stored. Half of them append at any position, half at the exact
 * head they know. An unanswered append is sent again under the same request id until its fate is known.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { AppError, createRpcClient, type RpcClient } from "@manyhands/kit";
import { type Event, EventSchema, SessionService } from "@manyhands/protocol";
import { between } from "./rig.ts";

/** Client of one session-store. */
export type Sessions = RpcClient<typeof SessionService>;

/** One event that a writer was told is stored. */
export interface Acknowledged {
  readonly sessionId: string;
  readonly writer: string;
  /** Place in what the writer wrote. */
  readonly order: number;
  readonly text: string;
  readonly position: number;
}

/** What all writers wrote and were told. */
export interface Ledger {
  readonly acknowledged: Acknowledged[];
  /** Every text that was ever sent, answered or not. */
  readonly sent: Set<string>;
  /** When each append was acknowledged, on the clock of `performance.now`. */
  readonly ackedAtMs: number[];
  /** How often each kind of failure was met and retried. */
  readonly retried: Map<string, number>;
  /** Answers that a writer must never get. */
  readonly wrongAnswers: string[];
}

/** Running writers. */
export interface Writers {
  readonly ledger: Ledger;
  /** Lets running appends end, then stops. What is still unanswered then stays unknown. */
  stop(): Promise<void>;
}

/** Who writes where. */
export interface WriterOptions {
  readonly addresses: readonly string[];
  readonly sessionIds: readonly string[];
  /** Number of writers; writer n writes to session n modulo the number of sessions. */
  readonly writers: number;
  readonly random: () => number;
  /** Makes the writers' names their own; the same ledger may hold several loads. */
  readonly label?: string;
  readonly ledger?: Ledger;
  /** Bytes of padding in each event. */
  readonly padding?: number;
}

const deadlineMs = 4000;
const pauseMs = 25;
const maxEvents = 4;
const maxWrongAnswers = 20;

/** A ledger with nothing in it. */
export function emptyLedger(): Ledger {
  return { acknowledged: [], sent: new Set(), ackedAtMs: [], retried: new Map(), wrongAnswers: [] };
}

/** A client that the writers and readers use. */
export function connectSessions(address: string): Sessions {
  return createRpcClient(SessionService, { address, defaultDeadlineMs: 20_000 });
}

/** Makes sessions to write to, trying again while the service comes up. */
export async function makeSessions(address: string, count: number): Promise<string[]> {
  const client = connectSessions(address);
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  try {
    const ids: string[] = [];
    for (let made = 0; made < count; made += 1) {
      const { session } = await client.createSession({
        workspaceId: "wrkspc_durability",
        agentJson: json({ id: "agent_1", version: 1, model: { id: "m" } }),
        environmentJson: json({ id: "env_1" }),
      });
      if (session === undefined) throw new Error("no session in the answer");
      ids.push(session.id);
    }
    return ids;
  } finally {
    client.close();
  }
}

/** Starts them. */
export function startWriters(options: WriterOptions): Writers {
  const stop = new AbortController();
  const ledger = options.ledger ?? emptyLedger();
  const clients = options.addresses.map(connectSessions);
  const running = Array.from({ length: options.writers }, (_, number) =>
    writeUntil(stop.signal, { ...options, ledger, clients, number }).catch((error: unknown) => {
      note(ledger, `writer ${number} ended: ${String(error)}`);
    }),
  );
  return {
    ledger,
    async stop() {
      stop.abort();
      await Promise.all(running);
      for (const client of clients) client.close();
    },
  };
}

interface Writer extends WriterOptions {
  readonly ledger: Ledger;
  readonly clients: readonly Sessions[];
  readonly number: number;
}

interface Batch {
  readonly sessionId: string;
  readonly writer: string;
  readonly first: number;
  readonly texts: readonly string[];
  /** Whether it is appended at the exact head. */
  readonly exact: boolean;
}

async function writeUntil(stop: AbortSignal, writer: Writer): Promise<void> {
  const sessionId = writer.sessionIds[writer.number % writer.sessionIds.length] ?? "";
  const name = `${writer.label ?? "w"}${writer.number}`;
  let head: number | undefined;
  for (let order = 0; !stop.aborted; ) {
    const count = between(writer.random, 1, maxEvents);
    const texts = Array.from({ length: count }, (_, offset) => `${name}-${order + offset}`);
    for (const text of texts) writer.ledger.sent.add(text);
    head = await settle(
      stop,
      writer,
      { sessionId, writer: name, first: order, texts, exact: writer.number % 2 === 1 },
      head,
    );
    order += count;
  }
}

/** Sends one batch until its fate is known or the writers stop; answers the head it was told. */
async function settle(stop: AbortSignal, writer: Writer, batch: Batch, known: number | undefined) {
  let head = known;
  const requestId = requestIdOf(batch.texts[0] ?? "");
  for (let attempt = writer.number; ; attempt += 1) {
    const client = writer.clients[Math.floor(attempt) % writer.clients.length];
    if (client === undefined) throw new Error("there is no address to write to");
    try {
      if (batch.exact && head === undefined) head = await headOf(client, batch.sessionId);
      const answer = await client.emitEvents(
        {
          sessionId: batch.sessionId,
          requestId,
          events: batch.texts.map((text) => textEvent(text, writer.padding ?? 0)),
          ...(batch.exact && head !== undefined ? { expectedPosition: BigInt(head) } : {}),
        },
        { deadlineMs },
      );
      acknowledge(writer.ledger, batch, answer.events);
      return Number(answer.headPosition);
    } catch (error) {
      if (error instanceof AppError && error.kind === "conflict" && error.reason === "POSITION_CONFLICT") {
        head = undefined; // another writer was faster: read the head again
        attempt -= 1;
      } else if (!mayRetry(error)) {
        note(writer.ledger, `${batch.writer} ${batch.texts[0]}: ${String(error)}`);
        return undefined;
      } else {
        count(writer.ledger, error);
        await sleep(pauseMs);
      }
      if (stop.aborted) return undefined;
    }
  }
}

function acknowledge(ledger: Ledger, batch: Batch, events: readonly Event[]): void {
  ledger.ackedAtMs.push(performance.now());
  if (events.length !== batch.texts.length || events.some((event, at) => textOf(event) !== batch.texts[at])) {
    note(ledger, `${batch.writer} sent ${batch.texts.join(",")}, was answered ${events.map(textOf).join(",")}`);
  }
  events.forEach((event, offset) => {
    const text = batch.texts[offset] ?? "";
    const { sessionId, writer } = batch;
    ledger.acknowledged.push({
      sessionId,
      writer,
      order: batch.first + offset,
      text,
      position: Number(event.position),
    });
  });
}

/** Nothing is known of the outcome, or it is said that nothing happened: both are settled by asking again. */
function mayRetry(error: unknown): boolean {
  return error instanceof AppError && ["unavailable", "deadline", "exhausted", "cancelled"].includes(error.kind);
}

function count(ledger: Ledger, error: unknown): void {
  const kind = error instanceof AppError ? error.reason : "unknown";
  ledger.retried.set(kind, (ledger.retried.get(kind) ?? 0) + 1);
}

function note(ledger: Ledger, text: string): void {
  if (ledger.wrongAnswers.length < maxWrongAnswers) ledger.wrongAnswers.push(text);
}

async function headOf(client: Sessions, sessionId: string): Promise<number> {
  const { session } = await client.getSession({ sessionId }, { deadlineMs });
  return Number(session?.headPosition ?? 0n);
}

function requestIdOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}

function textEvent(text: string, padding: number): Event {
  const content = [text, "x".repeat(padding)]
    .filter(Boolean)
    .map((one) => ({ kind: { case: "text", value: { text: one } } }) as const);
  return create(EventSchema, { type: "agent.message", payload: { case: "agentMessage", value: { content } } });
}

/** Text of an event that a writer made; undefined for others. */
export function textOf(event: Event): string | undefined {
  const block = event.payload.case === "agentMessage" ? event.payload.value.content[0]?.kind : undefined;
  return block?.case === "text" ? block.value.text : undefined;
}
