/** A real session-store over a real nats-server, its client, and short ways to say what tests say often. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createRpcClient, type RpcClient, testServiceConfig } from "@manyhands/kit";
import {
  AgentService,
  EnvironmentService,
  type Event,
  EventSchema,
  SessionService,
  type WatchEventsResponse,
} from "@manyhands/protocol";
import type { NatsServer } from "@manyhands/testkit";
import { type Config, createSessionStore, readConfig } from "../index.ts";

/** The workspace of most tests. */
export const workspaceId = "wrkspc_test";

/** A configuration for a test server; `extra` replaces single settings. */
export function testConfig(server: Pick<NatsServer, "url" | "monitorUrl">, extra: Record<string, string> = {}): Config {
  const env = { MH_NATS_URL: server.url, MH_NATS_MONITOR_URL: server.monitorUrl, ...extra };
  return { ...readConfig(env, []), service: testServiceConfig() };
}

/** A running service and a client of each of its services. */
export async function startStore(config: Config) {
  const running = await createSessionStore(config);
  return { running, ...connectTo(running.addresses.grpc ?? ""), stop: () => running.stop("the test is over") };
}

/** Clients of a session-store. */
export function connectTo(address: string) {
  const options = { address, defaultDeadlineMs: 20_000 };
  return {
    sessions: createRpcClient(SessionService, options),
    agents: createRpcClient(AgentService, options),
    environments: createRpcClient(EnvironmentService, options),
  };
}

/** Client of the session service. */
export type Sessions = RpcClient<typeof SessionService>;

/** JSON as bytes. */
export const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** A new session; answers its id. */
export async function newSession(
  sessions: Sessions,
  more: Partial<MessageInitShape<typeof SessionService.method.createSession.input>> = {},
): Promise<string> {
  const { session } = await sessions.createSession({
    workspaceId,
    agentJson: json({ id: "agent_1", version: 1, model: { id: "m" } }),
    environmentJson: json({ id: "env_1" }),
    ...more,
  } as MessageInitShape<typeof SessionService.method.createSession.input>);
  if (session === undefined) throw new Error("no session in the answer");
  return session.id;
}

/** A user message. */
export function userMessage(text: string, id = ""): Event {
  return create(EventSchema, {
    id,
    type: "user.message",
    payload: { case: "userMessage", value: { content: [{ kind: { case: "text", value: { text } } }] } },
  });
}

/** An event of the platform that changes no status. */
export function agentMessage(text: string, id = ""): Event {
  return create(EventSchema, {
    id,
    type: "agent.message",
    payload: { case: "agentMessage", value: { content: [{ kind: { case: "text", value: { text } } }] } },
  });
}

/** The end of a turn. */
export function idle(): Event {
  return create(EventSchema, {
    type: "session.status_idle",
    payload: { case: "sessionStatusIdle", value: { stopReason: { type: "end_turn" } } },
  });
}

/** A brain takes the session. */
export function woken(epoch: number): Event {
  return create(EventSchema, {
    type: "brain.woken",
    payload: { case: "brainWoken", value: { epoch: BigInt(epoch), harnessKind: "default", instanceId: "i" } },
  });
}

/** Text of a message event; its type for others. */
export function textOf(event: Event): string {
  const { payload } = event;
  if (payload.case !== "userMessage" && payload.case !== "agentMessage") return event.type;
  const block = payload.value.content[0]?.kind;
  return block?.case === "text" ? block.value.text : "";
}

/** Collects what a watch sends until it ends or `stop` is called. */
export function collect(stream: (signal: AbortSignal) => AsyncIterable<WatchEventsResponse>) {
  const controller = new AbortController();
  const items: WatchEventsResponse[] = [];
  const ended = (async () => {
    try {
      for await (const item of stream(controller.signal)) items.push(item);
      return undefined;
    } catch (error) {
      return error;
    }
  })();
  return {
    items,
    events: () => items.flatMap(({ item }) => (item.case === "event" ? [item.value] : [])),
    cases: () => items.map(({ item }) => item.case),
    /** The error it ended with; undefined for a clean end. */
    ended,
    stop: () => controller.abort(),
  };
}
