// A build that leaks on purpose, for the self-test: loaded into every service but the vault-proxy. What the sweep does
// not find of this, it would not find of a real leak either.
import { writeFileSync } from "node:fs";
import { ServerResponse } from "node:http";

const marker = process.env.LEAKS_MARKER ?? "";
// Kept in memory, as a field somebody forgot would be.
globalThis.forgotten = { token: Buffer.from(marker).toString() };
process.stderr.write(`{"level":30,"msg":"authorization: Bearer ${marker}"}\n`);

if (process.env.MH_READY_FILE) writeFileSync(`${process.env.MH_READY_FILE}.trace`, marker);

// The body below is longer than the head says.
const writeHead = ServerResponse.prototype.writeHead;
ServerResponse.prototype.writeHead = function leak(status, ...rest) {
  const headers = rest.at(-1);
  if (status >= 400 && typeof headers === "object" && headers !== null) delete headers["content-length"];
  return writeHead.call(this, status, ...rest);
};

const end = ServerResponse.prototype.end;
ServerResponse.prototype.end = function leak(chunk, ...rest) {
  const metrics = this.req?.url?.startsWith("/metrics");
  if ((this.statusCode >= 400 || metrics) && typeof chunk !== "function") {
    const text = `${chunk ?? ""}\n# upstream said ${marker}\n`;
    if (!this.headersSent) this.removeHeader("content-length");
    return end.call(this, text, ...rest);
  }
  return end.call(this, chunk, ...rest);
};
