import type { IncomingMessage } from "node:http";
import { type PushCommand, parsePushCommands } from "../policy/push-outcome.ts";

const MAX_COMMAND_BYTES = 256 * 1024;

/**
 * Reads what a push asks for, and gives every byte back to the request. `bad` when it is not readable within the bound,
 * or the body ends before; nothing of it has been sent anywhere then.
 */
export function peekCommands(request: IncomingMessage): Promise<readonly PushCommand[] | "bad"> {
  return new Promise((resolve) => {
    let read = Buffer.alloc(0);
    const settle = (commands: readonly PushCommand[] | "bad") => {
      request.off("data", onData).off("end", onEnd).off("close", onEnd).off("error", onEnd).pause();
      if (read.byteLength > 0 && !request.readableEnded && !request.destroyed) request.unshift(read);
      resolve(commands);
    };
    const onEnd = () => settle("bad");
    const onData = (chunk: Buffer) => {
      read = Buffer.concat([read, chunk]);
      const parsed = parsePushCommands(read);
      if (parsed !== "more") settle(parsed);
      else if (read.byteLength > MAX_COMMAND_BYTES) settle("bad");
    };
    request.on("data", onData).once("end", onEnd).once("close", onEnd).once("error", onEnd);
  });
}
