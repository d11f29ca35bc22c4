import type { Socket } from "node:net";

/** How a connection began: a token, or why there is none. */
export type Preamble =
  | { readonly ok: true; readonly token: string }
  | { readonly ok: false; readonly status: 400 | 408; readonly problem: string };

/** Longest first line, in bytes. */
export const MAX_PREAMBLE_BYTES = 8192;

/** Length in bytes and waiting time in milliseconds. */
export type PreambleLimits = { readonly bytes: number; readonly timeMs: number };

const LINE = /^MANYHANDS\/1 ([A-Za-z0-9._-]{1,4096})$/;

/**
 * Reads exactly the first line `MANYHANDS/1 <token>\r\n` and gives everything behind it back to the socket. Resolves
 * with undefined when the peer goes away first.
 */
export function readPreamble(socket: Socket, limits: PreambleLimits): Promise<Preamble | undefined> {
  return new Promise((resolve) => {
    let buffered = Buffer.alloc(0);
    const settle = (result: Preamble | undefined, rest?: Buffer) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose).off("end", onClose).off("error", onClose);
      socket.pause();
      if (rest && rest.byteLength > 0) {
        socket.unshift(rest);
      }
      resolve(result);
    };
    const onClose = () => settle(undefined);
    const onData = (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      const end = buffered.indexOf("\r\n");
      if (end < 0 ? buffered.byteLength > limits.bytes : end > limits.bytes) {
        settle({ ok: false, status: 400, problem: `the first line is longer than ${limits.bytes} bytes` });
      } else if (end >= 0) {
        const token = LINE.exec(buffered.toString("latin1", 0, end))?.[1];
        const bad: Preamble = { ok: false, status: 400, problem: "the first line must be MANYHANDS/1 <session token>" };
        settle(token === undefined ? bad : { ok: true, token }, buffered.subarray(end + 2));
      }
    };
    const timer = setTimeout(() => {
      settle({ ok: false, status: 408, problem: `no first line came within ${limits.timeMs} ms` });
    }, limits.timeMs);
    socket.on("data", onData).once("close", onClose).once("end", onClose).once("error", onClose);
  });
}
