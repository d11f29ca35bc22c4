import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { AppError, type Logger, newId } from "@manyhands/kit";
import type { Hand } from "../drivers/driver.ts";
import { handLost } from "../drivers/hand-lost.ts";
import { type AgentChannel, openChannel } from "./channel.ts";
import { createTunnel } from "./tunnel.ts";

const LOOK_MS = 30_000;
const NO_HASH = new Uint8Array(32);

/** What a hand with a resident agent is made of. */
export type AgentHandOptions = {
  readonly handId: string;
  /** The agent's stdin and stdout. */
  readonly stream: Duplex;
  readonly attachEpoch: number;
  readonly instance: string;
  readonly logger: Logger;
  /** The way out of the hand; without it connections inside are refused. */
  readonly dial?: () => Promise<Socket>;
  /** How long the agent may take to answer the first time; default 15 s. */
  readonly welcomeMs?: number;
  /** Resolves when the agent surely listens. */
  readonly begun?: Promise<unknown>;
  /** Asked once when the stream ended: why, in words. */
  readonly explainLoss?: () => Promise<string>;
};

/** A hand behind a stream to its agent. Resolves when the agent answered; rejects FENCED when it has a newer manager. */
export async function createAgentHand(options: AgentHandOptions): Promise<Hand> {
  const { handId, stream, attachEpoch, instance, logger, dial, explainLoss } = options;
  const lost = new AbortController();
  let detached = false;
  let channel: AgentChannel | undefined;
  const currentChannel = () => {
    if (!channel) throw new Error("a frame of the tunnel came before the welcome");
    return channel;
  };
  const tunnel = createTunnel(currentChannel, dial, logger);
  const onEnd = (error: AppError) => {
    tunnel.close();
    if (detached) return;
    if (error.kind === "fenced") return lost.abort(error);
    const explained = explainLoss?.().catch(() => undefined) ?? Promise.resolve(undefined);
    void explained.then((why) => lost.abort(why ? handLost(why, error) : error));
  };
  channel = await openChannel({
    stream,
    epoch: attachEpoch,
    instance,
    logger,
    ...(options.welcomeMs === undefined ? {} : { welcomeMs: options.welcomeMs }),
    ...(options.begun === undefined ? {} : { begun: options.begun }),
    onTunnel: (frame) => tunnel.onFrame(frame),
    onEnd,
  });
  const agent = channel;
  return {
    handId,
    lost: lost.signal,
    start: (spec, signal) => agent.start(spec, { signal }),
    attach: (operationId, signal) => agent.attach(operationId, signal),
    state: (operationId) => agent.state(operationId),
    cancel: (operationId) => agent.cancel(operationId),
    async look(action) {
      const { parts } = await agent.start(
        { id: newId("look"), inputHash: NO_HASH, timeoutMs: LOOK_MS, action },
        { isLook: true },
      );
      const chunks: Uint8Array[] = [];
      for await (const part of parts) {
        if (part.type === "output") chunks.push(part.bytes);
        else return { exitCode: part.state.exitCode ?? -1, bytes: Buffer.concat(chunks) };
      }
      throw AppError.internal(new Error("the agent ended a look without its exit"));
    },
    async detach() {
      detached = true;
      agent.end(AppError.unavailable("HAND_DETACHED", "this manager let the hand go"));
    },
  };
}
