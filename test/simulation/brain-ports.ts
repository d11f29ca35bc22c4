/** Everything one brain gets from outside, by way of a network that loses, delays and repeats. */
import { create } from "@bufbuild/protobuf";
import type { StoredFrame } from "@manyhands/bus";
import { AppError, type Lifecycle, silentLogger } from "@manyhands/kit";
import {
  AttachResponseSchema,
  CancelOperationResponseSchema,
  type Event,
  ExecuteResponseSchema,
  ProvisionResponseSchema,
} from "@manyhands/protocol";
import type { HandLedger, Item } from "./hand-ledger.ts";
import type { BrainPorts } from "./loop-under-test.ts";
import { through } from "./pipe.ts";
import type { Process } from "./process.ts";
import type { SessionLogs } from "./session-logs.ts";
import { simModel } from "./sim-model.ts";
import { type Stage, simLimits } from "./stage.ts";
import type { ToolProxies } from "./tool-proxies.ts";
import type { WakeQueue } from "./wake-queue.ts";

/** The services of a world. */
export interface Services {
  readonly logs: SessionLogs;
  readonly wakes: WakeQueue;
  readonly hands: HandLedger;
  readonly proxies: ToolProxies;
  readonly isCalm: () => boolean;
}

const logger = silentLogger();

/** The ports of the brain that runs in `process`. */
export function brainPorts(
  stage: Stage,
  services: Services,
  process: Process,
  stop: AbortController,
): Omit<BrainPorts, "concurrency"> {
  const { scheduler, faults, watch, newId, note } = stage;
  const lifecycle: Pick<Lifecycle, "signal" | "drainMs" | "onStop"> = {
    signal: stop.signal,
    drainMs: 3_000,
    onStop: () => undefined,
  };
  return {
    instanceId: process.name,
    clock: process.clock,
    newId,
    logger,
    lifecycle,
    limits: simLimits,
    sliceMs: 1_500,
    warmMs: scheduler.chance(0.5) ? 60_000 : 0,
    checkpointEvents: scheduler.chance(0.3) ? 20 : 0,
    pass: (point) => {
      process.mayCrash(`pass ${point}`);
    },
    wakes: {
      consume: async (options) => services.wakes.consume(process, options),
      publish: ({ sessionId }) => process.call("wake", () => services.wakes.publish(sessionId)),
    },
    model: simModel(scheduler, faults, process, newId, {
      onAsk: (sessionId, request) => {
        note(() => `${process.name} asks the model, ${request.messages.length} turns`);
        watch.asked(process.name, sessionId, request);
      },
      isCalm: services.isCalm,
    }),
    mcp: services.proxies.portsOf(process),
    sessions: sessionsOf(stage, services, process),
    sandboxes: sandboxesOf(stage, services, process),
    subscribeTail: (sessionId, onFrame) =>
      process.call("follow", () =>
        services.logs.follow(sessionId, (frame: StoredFrame) => process.deliver(() => onFrame(frame))),
      ),
  };
}

function sessionsOf({ watch, visited }: Stage, { logs }: Services, process: Process): BrainPorts["sessions"] {
  return {
    getEvents: async ({ sessionId = "", slice }) => {
      const answer = await process.call("read", () => {
        const range = slice?.case === "range" ? slice.value : undefined;
        const from = slice?.case === "fromCheckpoint" ? "checkpoint" : Number(range?.from ?? 0);
        return logs.read(sessionId, from, range?.to === undefined ? undefined : Number(range.to));
      });
      for (const { payload } of answer.events) {
        if (payload.case !== "brainWoken" || payload.value.instanceId === process.name) continue;
        watch.tell(process.name, sessionId, Number(payload.value.epoch));
      }
      return answer;
    },
    emitEvents: async (request) => {
      const { sessionId = "", epoch = 0n, requestId = "", expectedPosition } = request;
      const events = (request.events ?? []) as Event[]; // they come from encodeEvent
      watch.acts(process.name, sessionId, Number(epoch), `writes ${events.map((event) => event.type)}`);
      const answer = await process.call(`emit${kindOf(events)}`, () => {
        if (Number(epoch) < logs.epoch(sessionId)) visited("CP20");
        return logs.emit({ sessionId, events, epoch: BigInt(epoch), requestId, expectedPosition });
      });
      const ids = answer.events.map((event) => event.id);
      watch.acknowledged(sessionId, ids);
      return answer;
    },
  };
}

function kindOf(events: readonly Event[]): string {
  if (events.some((event) => event.type === "span.model_request_end")) return " response";
  return events.some((event) => event.type === "agent.tool_result") ? " result" : "";
}

function sandboxesOf({ watch }: Stage, { hands }: Services, process: Process): BrainPorts["sandboxes"] {
  const label = ({ item }: { item: Item }) => item.case;
  return {
    provision: ({ sessionId = "", epoch = 0n }, options) =>
      process.call(
        "provision",
        () => {
          const { id, generation } = hands.provision(sessionId, Number(epoch));
          return create(ProvisionResponseSchema, {
            hand: { id, sessionId, generation, name: "default", driver: "sim" },
          });
        },
        options?.signal,
      ),
    execute: (request, options) => {
      const { sessionId = "", handId = "", operationId = "", epoch = 0n } = request;
      watch.acts(process.name, sessionId, Number(epoch), `runs ${operationId}`);
      const call = { sessionId, handId, operationId, epoch: Number(epoch), timeoutMs: simLimits.operationTimeoutMs };
      const items = through(process, {
        site: "execute",
        label,
        open: () => hands.execute(call),
        signal: options?.signal,
      });
      return heeding(items, (item) => create(ExecuteResponseSchema, item), tell(operationId, handId));
    },
    attach: ({ sessionId = "", handId = "", operationId = "", epoch = 0n }, options) => {
      watch.acts(process.name, operationId, Number(epoch), `follows ${operationId}`);
      const call = { sessionId, handId, operationId, epoch: Number(epoch) };
      const items = through(process, {
        site: "attach",
        label,
        open: () => hands.attach(call),
        signal: options?.signal,
      });
      return heeding(items, (item) => create(AttachResponseSchema, item), tell(operationId, handId));
    },
    cancelOperation: ({ sessionId = "", handId = "", operationId = "", epoch = 0n }) =>
      process.call("cancel", () => {
        hands.cancel({ sessionId, handId, operationId, epoch: Number(epoch) });
        return create(CancelOperationResponseSchema, {});
      }),
  };

  /** A refused epoch tells of a newer one: whoever hears that must not ask again. */
  function tell(operationId: string, handId: string): () => void {
    return () => {
      const hand = hands.hands.get(handId);
      if (hand !== undefined) watch.tell(process.name, operationId, hand.epoch);
    };
  }
}

async function* heeding<T>(
  items: AsyncGenerator<{ item: Item }>,
  message: (item: { item: Item }) => T,
  onFenced: () => void,
): AsyncGenerator<T> {
  try {
    for await (const item of items) yield message(item);
  } catch (error) {
    const isFence = error instanceof AppError && error.kind === "fenced" && error.details.metadata?.epoch !== undefined;
    if (isFence) onFenced();
    throw error;
  }
}
