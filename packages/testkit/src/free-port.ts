import { createServer } from "node:net";

/**
 * A loopback TCP port that was free a moment ago. Somebody else may take it before it is used, so prefer listening
 * on port 0 wherever the program under test can report its port.
 */
export function freePort(host = "127.0.0.1"): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, host, () => {
      const address = server.address();
      server.close(() => {
        if (typeof address === "object" && address) {
          resolve(address.port);
        } else {
          reject(new Error("the system gave no port"));
        }
      });
    });
  });
}
