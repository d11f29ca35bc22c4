import { execFile } from "node:child_process";
import { timingSafeEqual } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { type CgiRequest, GitBackend } from "./git-http-backend.ts";
import { tempDir } from "./temp-dir.ts";

/** What a git server is started with. */
export type GitServerOptions = {
  /** Files of the first commit on `main`, by repository name and path. A name may have folders: `team/app`. */
  readonly repositories: Readonly<Record<string, Readonly<Record<string, string | Uint8Array>>>>;
  /** The password every request must carry by Basic authentication, under any user name. Absent: nobody is asked. */
  readonly token?: string;
  /** Where to listen; default loopback on a free port. */
  readonly host?: string;
  readonly port?: number;
  /** Called before a request is served; true means it has been answered already. For answers git itself never gives. */
  readonly intercept?: (request: IncomingMessage, response: ServerResponse) => boolean;
};

/** One request the server got. */
export type GitServerRequest = {
  readonly method: string;
  /** Path with query. */
  readonly target: string;
  /** Headers without the value of Authorization. */
  readonly headers: Readonly<Record<string, string>>;
  /** User name of Basic authentication; empty when there was none. */
  readonly user: string;
  /** True when the password was the token (or none is needed). */
  readonly authorized: boolean;
  /** Status answered; 0 while running. */
  status: number;
};

/** One commit, newest first in a log. */
export type GitServerCommit = { readonly sha: string; readonly author: string; readonly subject: string };

/** A running git server: real git behind smart HTTP. */
export type GitServer = {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  /** The URL to clone: `<url>/<name>.git`. Throws for a name that was not given. */
  repoUrl(name: string): string;
  /** Commits of a ref, newest first, at most 1000. */
  log(name: string, ref?: string): Promise<readonly GitServerCommit[]>;
  /** Every ref and its commit. */
  refs(name: string): Promise<Readonly<Record<string, string>>>;
  /** A file's content at a ref; rejects when it is not there. */
  readFile(name: string, path: string, ref?: string): Promise<string>;
  /** The newest 1000 requests, oldest first. */
  readonly requests: readonly GitServerRequest[];
  /** Ends running requests, closes the port and removes the repositories. Twice is fine. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const run = promisify(execFile);
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}$/;
const MAX_REQUESTS = 1000;
const MAX_GIT_OUTPUT = 16 * 1024 * 1024;

/** Starts a git server with one bare repository per entry, each with a first commit on `main`, open for pushes. */
export async function startGitServer(options: GitServerOptions): Promise<GitServer> {
  const folder = await tempDir("manyhands-git-server-");
  const root = join(folder.path, "repositories");
  const env = gitEnvironment(folder.path);
  try {
    for (const [name, files] of Object.entries(options.repositories)) {
      await createRepository(root, join(folder.path, "work"), name, files, env);
    }
  } catch (error) {
    await folder.cleanup();
    throw error;
  }
  const requests: GitServerRequest[] = [];
  const backend = new GitBackend(root, env);
  const server = createServer((request, response) => serve({ options, backend, requests }, request, response));
  server.requestTimeout = 0;
  const url = `http://${await listen(server, options.port ?? 0, options.host ?? "127.0.0.1")}`;
  const repository = (name: string): string => {
    if (!Object.hasOwn(options.repositories, name)) {
      throw new Error(`there is no repository ${name}`);
    }
    return join(root, `${name}.git`);
  };
  const git = async (name: string, ...args: readonly string[]) => {
    const { stdout } = await run("git", ["--git-dir", repository(name), ...args], { env, maxBuffer: MAX_GIT_OUTPUT });
    return stdout;
  };
  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= close(server, backend).then(() => folder.cleanup()));
  return {
    url,
    repoUrl(name) {
      repository(name);
      return `${url}/${name}.git`;
    },
    async log(name, ref = "main") {
      const lines = (await git(name, "log", "--max-count=1000", "--format=%H%x00%an%x00%s", ref, "--")).split("\n");
      return lines.filter(Boolean).map((line) => {
        const [sha = "", author = "", subject = ""] = line.split("\0");
        return { sha, author, subject };
      });
    },
    async refs(name) {
      const lines = (await git(name, "for-each-ref", "--format=%(refname) %(objectname)")).split("\n").filter(Boolean);
      return Object.fromEntries(lines.map((line) => line.split(" ") as [string, string]));
    },
    readFile: (name, path, ref = "main") => git(name, "show", `${ref}:${path}`),
    requests,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Nothing of the machine's or the caller's git configuration may change what a test sees. */
function gitEnvironment(home: string): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: home,
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "Maintainer",
    GIT_AUTHOR_EMAIL: "maintainer@example.com",
    GIT_COMMITTER_NAME: "Maintainer",
    GIT_COMMITTER_EMAIL: "maintainer@example.com",
  };
}

async function createRepository(
  root: string,
  work: string,
  name: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  env: Record<string, string>,
): Promise<void> {
  if (!NAME.test(name)) {
    throw new Error(`${name} is not a repository name: letters, digits, . _ - and up to 3 slashes`);
  }
  const bare = join(root, `${name}.git`);
  await mkdir(work, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    const target = join(work, path);
    if (!target.startsWith(`${work}/`)) {
      throw new Error(`${path} is outside of the repository`);
    }
    await mkdir(dirname(target), { recursive: true });
    const script = Buffer.from(content.slice(0, 2)).toString() === "#!";
    await writeFile(target, content, { mode: script ? 0o755 : 0o644 });
  }
  const git = (...args: readonly string[]) => run("git", [...args], { cwd: work, env, maxBuffer: MAX_GIT_OUTPUT });
  await git("init", "--quiet", "--initial-branch=main");
  await git("add", "--all");
  await git("commit", "--quiet", "--allow-empty", "--message=Initial commit");
  await git("clone", "--quiet", "--bare", "--no-hardlinks", ".", bare);
  await git("--git-dir", bare, "config", "http.receivepack", "true");
  await git("--git-dir", bare, "config", "http.uploadpack", "true");
  await git("--git-dir", bare, "config", "uploadpack.allowFilter", "true");
  await git("--git-dir", bare, "remote", "remove", "origin");
  await rm(work, { recursive: true, force: true });
}

type Serving = {
  readonly options: GitServerOptions;
  readonly backend: GitBackend;
  readonly requests: GitServerRequest[];
};

function serve({ options, backend, requests }: Serving, request: IncomingMessage, response: ServerResponse): void {
  const { user, password } = basicOf(request.headers.authorization);
  const authorized = options.token === undefined || sameText(password, options.token);
  const entry: GitServerRequest = {
    method: request.method ?? "",
    target: request.url ?? "",
    headers: headersOf(request),
    user,
    authorized,
    status: 0,
  };
  requests.push(entry);
  requests.splice(0, Math.max(0, requests.length - MAX_REQUESTS));
  response.once("close", () => {
    entry.status = response.statusCode;
  });
  if (options.intercept?.(request, response)) {
    return;
  }
  if (!authorized) {
    request.resume();
    response.writeHead(401, { "www-authenticate": 'Basic realm="git"', "content-type": "text/plain" });
    response.end("a token is needed\n");
    return;
  }
  backend.serve(request, response, cgiOf(request, user));
}

function cgiOf(request: IncomingMessage, user: string): CgiRequest {
  const [path = "", query = ""] = (request.url ?? "").split("?");
  const header = (name: string) => String(request.headers[name] ?? "");
  return {
    REQUEST_METHOD: request.method ?? "GET",
    PATH_INFO: decodeSafely(path),
    QUERY_STRING: query,
    CONTENT_TYPE: header("content-type"),
    CONTENT_LENGTH: header("content-length"),
    HTTP_CONTENT_ENCODING: header("content-encoding"),
    GIT_PROTOCOL: header("git-protocol"),
    REMOTE_USER: user,
    REMOTE_ADDR: request.socket.remoteAddress ?? "",
  };
}

function decodeSafely(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return "/";
  }
}

function basicOf(header: string | undefined): { user: string; password: string } {
  const encoded = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(header ?? "")?.[1];
  const text = Buffer.from(encoded ?? "", "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? { user: "", password: "" } : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

function sameText(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.byteLength === right.byteLength && timingSafeEqual(left, right);
}

function headersOf(request: IncomingMessage): Record<string, string> {
  const entries = Object.entries(request.headers).filter(([name]) => name !== "authorization");
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

function listen(server: Server, port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      const address = server.address();
      const bound = typeof address === "object" && address ? address.port : port;
      resolve(`${host.includes(":") ? `[${host}]` : host}:${bound}`);
    });
  });
}

async function close(server: Server, backend: GitBackend): Promise<void> {
  backend.stop();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
