import { type ChildProcess, spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";

/** The variables of one CGI request. */
export type CgiRequest = Readonly<Record<string, string>>;

const MAX_RUNNING = 16;
const MAX_WAITING = 256;
const MAX_HEADER_BYTES = 16 * 1024;
const REQUEST_MS = 300_000;

/** Runs `git http-backend` for requests: at most 16 at a time, the others wait, beyond 256 waiting they get 503. */
export class GitBackend {
  readonly #root: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #running = new Set<ChildProcess>();
  readonly #waiting: (() => void)[] = [];
  #stopped = false;

  constructor(root: string, env: Readonly<Record<string, string>>) {
    this.#root = root;
    this.#env = env;
  }

  /** Answers a request when its turn comes. */
  serve(request: IncomingMessage, response: ServerResponse, cgi: CgiRequest): void {
    if (this.#stopped || this.#waiting.length >= MAX_WAITING) {
      response.writeHead(503, { connection: "close" }).end("too busy\n");
    } else if (this.#running.size < MAX_RUNNING) {
      this.#start(request, response, cgi);
    } else {
      this.#waiting.push(() => this.#start(request, response, cgi));
    }
  }

  /** Kills what runs; nothing is served afterwards. */
  stop(): void {
    this.#stopped = true;
    for (const child of this.#running) {
      child.kill("SIGKILL");
    }
    this.#waiting.length = 0;
  }

  #start(request: IncomingMessage, response: ServerResponse, cgi: CgiRequest): void {
    const set = Object.entries(cgi).filter(([, value]) => value !== "");
    const env = {
      ...this.#env,
      ...Object.fromEntries(set),
      GIT_PROJECT_ROOT: this.#root,
      GIT_HTTP_EXPORT_ALL: "1",
      SERVER_PROTOCOL: "HTTP/1.1",
      GATEWAY_INTERFACE: "CGI/1.1",
    };
    const child = spawn("git", ["http-backend"], { env, stdio: ["pipe", "pipe", "ignore"] });
    this.#running.add(child);
    const killer = setTimeout(() => child.kill("SIGKILL"), REQUEST_MS);
    response.once("close", () => child.kill("SIGKILL"));
    // The backend may answer and leave before it has read everything; that is no failure.
    child.stdin.on("error", () => undefined);
    child.on("error", () => response.destroy());
    request.pipe(child.stdin);
    relay(child, response);
    child.once("close", () => {
      clearTimeout(killer);
      this.#running.delete(child);
      request.unpipe(child.stdin);
      request.resume();
      this.#waiting.shift()?.();
    });
  }
}

/** CGI's own header block, then the body, with backpressure. */
function relay(child: ChildProcess, response: ServerResponse): void {
  const { stdout } = child;
  if (!stdout) {
    response.destroy();
    return;
  }
  let head = Buffer.alloc(0);
  const onHead = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) {
      if (head.byteLength > MAX_HEADER_BYTES) {
        child.kill("SIGKILL");
      }
      return;
    }
    stdout.off("data", onHead);
    stdout.pause();
    const { status, headers } = parseHead(head.toString("latin1", 0, end));
    response.writeHead(status, headers);
    const rest = head.subarray(end + 4);
    if (rest.byteLength > 0) {
      response.write(rest);
    }
    stdout.pipe(response);
  };
  stdout.on("data", onHead);
  child.once("close", () => {
    if (!response.headersSent) {
      response.writeHead(500, { connection: "close" }).end("git http-backend gave no answer\n");
    }
  });
}

function parseHead(text: string): { status: number; headers: Record<string, string> } {
  const headers: Record<string, string> = {};
  let status = 200;
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === "status") {
      status = Number.parseInt(value, 10) || 500;
    } else if (colon > 0) {
      headers[name] = value;
    }
  }
  return { status, headers };
}
