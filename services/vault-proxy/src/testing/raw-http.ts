/** For tests only: sends exactly these bytes and collects whatever comes back until the end, or until `until` is seen. */
import { connect } from "node:net";

/** What came back and whether the peer ended the connection. */
export type RawAnswer = { readonly text: string; readonly closed: boolean };

/** Opens a connection, writes, reads. Gives up after 5 s with what there is. */
export function rawExchange(address: string, bytes: string | Buffer, until?: RegExp): Promise<RawAnswer> {
  const colon = address.lastIndexOf(":");
  return new Promise((resolve) => {
    const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
    let text = "";
    const finish = (closed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed });
    };
    const timer = setTimeout(() => finish(false), 5000);
    socket.on("connect", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (until?.test(text)) {
        finish(false);
      }
    });
    socket.on("error", () => finish(true));
    socket.on("close", () => finish(true));
  });
}

/** The status of the first answer, 0 when there is none. */
export function statusOf(answer: RawAnswer): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer.text)?.[1] ?? 0);
}
