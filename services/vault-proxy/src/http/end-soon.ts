import type { Duplex } from "node:stream";

const LINGER_MS = 1000;

/** Says a last thing and ends the connection, also of a client that does not end its own side but goes on talking. */
export function endSoon(connection: Duplex, text: string): void {
  connection.end(text);
  connection.resume();
  const timer = setTimeout(() => connection.destroy(), LINGER_MS);
  connection.once("close", () => clearTimeout(timer));
}
