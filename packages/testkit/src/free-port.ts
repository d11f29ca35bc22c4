import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below what systems give to outgoing connections (Linux from 32768 on), which would take a port before it is used. */
const lowest = 10_000;
const highest = 32_000;
const maxTries = 100;

/**
 * A loopback TCP port that was free a moment ago, and that no outgoing connection gets. Another listener may still take
 * it before it is used, so prefer listening on port 0 wherever the program under test can report its port.
 */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const port = randomInt(lowest, highest);
    try {
      await listenOnce(port, host);
      return port;
    } catch (error) {
      if (tries === maxTries) throw error;
    }
  }
}

function listenOnce(port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, host, () => server.close(() => resolve()));
  });
}
