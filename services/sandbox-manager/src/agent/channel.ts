import type { Duplex } from "node:stream";
import { AppError, type Logger, toAppError } from "@manyhands/kit";
import type { OperationPart, OperationSpec, OperationState, StartedOperation } from "../drivers/driver.ts";
import { handLost, neverSent } from "../drivers/hand-lost.ts";
import { CLEAR_LINE, createFrameDecoder, encodeFrame } from "./frames.ts";
import {
  BODY_CHUNK_BYTES,
  FieldReader,
  FROM_AGENT,
  frameHead,
  PROTOCOL_VERSION,
  REFUSAL,
  readState,
  startFrame,
  TO_AGENT,
} from "./messages.ts";
import { createPartQueue, type PartQueue, WINDOW_BYTES } from "./part-queue.ts";

const REQUEST_MS = 15_000;
const MAX_REPEATS = 3;

/** A tunnel frame, for `tunnel.ts`. */
export type TunnelFrame = { readonly type: number; readonly connection: number; readonly fields: FieldReader };

/** One attachment to one agent. Requests get exactly one answer; operations are followed through part queues. */
export type AgentChannel = {
  start(spec: OperationSpec, how: StartOptions): Promise<StartedOperation>;
  attach(operationId: string, signal: AbortSignal | undefined): Promise<AsyncIterable<OperationPart> | undefined>;
  state(operationId: string): Promise<OperationState | undefined>;
  cancel(operationId: string): Promise<OperationState | undefined>;
  ping(): Promise<void>;
  sendTunnel(type: number, connection: number, field?: Uint8Array | number): void;
  /** Settles everything that waits with this error. */
  end(error: AppError): void;
};

/** `isLook` leaves no trace in the ledger; `signal` ends the following, not the operation. */
export type StartOptions = { readonly isLook?: boolean; readonly signal?: AbortSignal | undefined };

/** What a channel needs. `onEnd` is told why the stream ended, once. */
export type ChannelOptions = {
  readonly stream: Duplex;
  readonly epoch: number;
  /** Names this manager: another one with the same epoch is refused. */
  readonly instance: string;
  readonly logger: Logger;
  /** How long the agent may take to answer the first time; default 15 s. */
  readonly welcomeMs?: number;
  /** Resolves when the agent surely listens; a greeting that got lost before is said again then. */
  readonly begun?: Promise<unknown>;
  readonly onTunnel: (frame: TunnelFrame) => void;
  readonly onEnd: (error: AppError) => void;
};

type Pending = {
  readonly frames: readonly Buffer[];
  readonly timer: NodeJS.Timeout;
  repeats: number;
  resolve(answer: Answer): void;
  reject(error: AppError): void;
};
type Answer = { readonly type: number; readonly fields: FieldReader };

/** Says HELLO and resolves when the agent has taken us as its manager; rejects FENCED when a newer one has it. */
export async function openChannel(options: ChannelOptions): Promise<AgentChannel> {
  const { stream, epoch, instance, logger, onTunnel, onEnd } = options;
  const pending = new Map<number, Pending>();
  const queues = new Map<number, PartQueue>();
  let nextId = 1;
  let ended: AppError | undefined;
  let welcomed = false;

  const write = (frame: Uint8Array) => {
    if (!ended) stream.write(frame);
  };
  const end = (error: AppError) => {
    if (ended) return;
    ended = error;
    for (const request of pending.values()) {
      clearTimeout(request.timer);
      request.reject(error);
    }
    pending.clear();
    for (const queue of queues.values()) queue.fail(error);
    queues.clear();
    stream.destroy();
    onEnd(error);
  };

  const request = (id: number, frames: readonly Buffer[], waitMs = REQUEST_MS): Promise<Answer> =>
    new Promise((resolve, reject) => {
      if (ended) {
        reject(neverSent(ended));
        return;
      }
      const timer = setTimeout(() => {
        pending.delete(id);
        reject(AppError.unavailable("HAND_SILENT", `the hand's agent did not answer within ${waitMs} ms`));
      }, waitMs);
      pending.set(id, { frames, timer, repeats: 0, resolve, reject });
      for (const frame of frames) write(frame);
    });

  // The agent got something unreadable: a former manager's last bytes may have torn one of ours. All requests are
  // idempotent by their id, so whatever is unanswered is sent again.
  const repeat = () => {
    for (const entry of pending.values()) {
      if (entry.repeats++ >= MAX_REPEATS) continue;
      for (const frame of entry.frames) write(frame);
    }
  };

  const answer = (id: number, type: number, fields: FieldReader) => {
    const entry = pending.get(id);
    if (!entry) {
      if (type === FROM_AGENT.refused) queues.get(id)?.fail(refusal(fields));
      return;
    }
    pending.delete(id);
    clearTimeout(entry.timer);
    if (type === FROM_AGENT.refused) entry.reject(refusal(fields));
    else entry.resolve({ type, fields });
  };

  const onPayload = (payload: Buffer) => {
    const fields = new FieldReader(payload);
    const type = fields.u8();
    const frameEpoch = fields.u32();
    const id = fields.u32();
    if (type === FROM_AGENT.damaged) return repeat();
    // A refusal only says that somebody tried; any other answer, that the agent obeys a newer manager.
    if (frameEpoch > epoch && welcomed && type !== FROM_AGENT.refused) return end(taken());
    if (frameEpoch !== epoch) return; // every manager attached to the hand hears everything; this is another's
    switch (type) {
      case FROM_AGENT.output:
        queues.get(id)?.push({ type: "output", offset: fields.u64(), bytes: Buffer.from(fields.bytes()) });
        return;
      case FROM_AGENT.exit:
        queues.get(id)?.push({ type: "exit", state: readState(fields) });
        queues.delete(id);
        return;
      case FROM_AGENT.connectionOpened:
      case FROM_AGENT.connectionData:
      case FROM_AGENT.connectionEof:
      case FROM_AGENT.connectionClosed:
      case FROM_AGENT.connectionCredit:
        onTunnel({ type, connection: id, fields });
        return;
      default:
        answer(id, type, fields);
    }
  };

  const decode = createFrameDecoder(onPayload, () => logger.warn("a damaged frame came from the hand's agent"));
  stream.on("data", (chunk: Buffer) => {
    try {
      decode(chunk);
    } catch (error) {
      end(handLost("the hand's agent broke the protocol", error));
    }
  });
  stream.once("error", (error) => end(handLost("the engine dropped the hand's stream", error)));
  stream.once("close", () => end(handLost("the hand's process ended")));

  const follow = (id: number, signal: AbortSignal | undefined): PartQueue => {
    const leave = () => {
      if (queues.delete(id)) write(encodeFrame(frameHead(TO_AGENT.detach, epoch, id).done()));
    };
    const grant = (bytes: number) => write(encodeFrame(frameHead(TO_AGENT.credit, epoch, id).u32(bytes).done()));
    const queue = createPartQueue(grant, leave);
    // A reader that waits cannot be asked to return; a caller who went away must not hold an attachment until the end.
    const onAbort = () => {
      leave();
      queue.fail(toAppError(signal?.reason));
    };
    if (signal?.aborted) queueMicrotask(onAbort);
    else signal?.addEventListener("abort", onAbort, { once: true });
    queues.set(id, queue);
    return queue;
  };

  const ask = async (type: number, operationId: string): Promise<OperationState | undefined> => {
    const id = nextId++;
    try {
      const { fields } = await request(id, [encodeFrame(frameHead(type, epoch, id).bytes(operationId).done())]);
      return readState(fields);
    } catch (error) {
      if (isNotStarted(error)) return undefined;
      throw error;
    }
  };

  write(CLEAR_LINE);
  const helloId = nextId++;
  const greetAgain = () => (welcomed ? undefined : repeat());
  options.begun?.then(greetAgain, () => undefined);
  const hello = frameHead(TO_AGENT.hello, epoch, helloId).u32(PROTOCOL_VERSION).bytes(instance).done();
  await request(helloId, [encodeFrame(hello)], options.welcomeMs).catch((error: AppError) => {
    end(error);
    throw error;
  });
  welcomed = true;

  return {
    async start(spec, { isLook = false, signal }) {
      const id = nextId++;
      const { start, body } = startFrame(epoch, id, spec, WINDOW_BYTES, isLook);
      const frames: Buffer[] = [];
      for (let at = 0; at < body.length; at += BODY_CHUNK_BYTES) {
        const chunk = body.subarray(at, at + BODY_CHUNK_BYTES);
        frames.push(encodeFrame(frameHead(TO_AGENT.body, epoch, id).bytes(chunk).done()));
      }
      frames.push(encodeFrame(start));
      const queue = follow(id, signal);
      try {
        const { fields } = await request(id, frames);
        return { existing: fields.u8() === 1, state: readState(fields), parts: queue.parts };
      } catch (error) {
        queues.delete(id);
        throw error;
      }
    },
    async attach(operationId, signal) {
      // Two requests: STATE answers whether it exists; an attachment itself is only ever answered by its parts.
      if (!(await ask(TO_AGENT.state, operationId))) return undefined;
      const id = nextId++;
      const queue = follow(id, signal);
      write(encodeFrame(frameHead(TO_AGENT.attach, epoch, id).u64(0).u32(WINDOW_BYTES).bytes(operationId).done()));
      return queue.parts;
    },
    state: (operationId) => ask(TO_AGENT.state, operationId),
    cancel: (operationId) => ask(TO_AGENT.cancel, operationId),
    async ping() {
      const id = nextId++;
      await request(id, [encodeFrame(frameHead(TO_AGENT.ping, epoch, id).done())]);
    },
    sendTunnel(type, connection, field) {
      const frame = frameHead(type, epoch, connection);
      if (typeof field === "number") frame.u32(field);
      else if (field) frame.bytes(field);
      write(encodeFrame(frame.done()));
    },
    end,
  };
}

/** Every manager attached to a hand hears the agent; an answer to a newer one is how the former learns of it. */
function taken(): AppError {
  return new AppError("fenced", { reason: "MANAGER_FENCED", message: "a newer manager has this hand" });
}

function isNotStarted(error: unknown): boolean {
  return error instanceof AppError && error.reason === "OPERATION_NOT_STARTED";
}

function refusal(fields: FieldReader): AppError {
  const why = fields.u8();
  const currentEpoch = fields.u32();
  const text = fields.string();
  switch (why) {
    case REFUSAL.fenced:
      return new AppError("fenced", {
        reason: "MANAGER_FENCED",
        message: text,
        details: { metadata: { current_epoch: String(currentEpoch) } },
      });
    case REFUSAL.conflict:
      return AppError.conflict("ID_REUSED", text);
    case REFUSAL.busy:
      return AppError.exhausted("HAND_BUSY", text, 500);
    case REFUSAL.notStarted:
      return AppError.conflict("OPERATION_NOT_STARTED", text);
    case REFUSAL.storage:
      return AppError.exhausted("HAND_JOURNAL_FULL", text);
    case REFUSAL.spawn:
      return AppError.exhausted("HAND_PROCESS_LIMIT", text, 1000);
    default:
      return AppError.internal(new Error(`the hand's agent refused a frame: ${text}`));
  }
}
