/**
 * For tests only: real git as it runs in a hand. A loopback port relays bytes to the git proxy behind one line with the
 * session token, as sandbox-manager does, and git is told by `insteadOf` to go there.
 */
import { execFile } from "node:child_process";
import { connect, createServer, type Server, type Socket } from "node:net";
import { promisify } from "node:util";
import { tempDir } from "@manyhands/testkit";

/** A folder with git in it. */
export type GitInHand = {
  readonly folder: string;
  /** Runs git; rejects with what it printed. */
  git(cwd: string, ...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }>;
  /** What the tunnel says it is from now on. */
  useToken(token: string): void;
  stop(): Promise<void>;
};

const run = promisify(execFile);

/** Prepares git for the repositories of the given origins, for instance `http://127.0.0.1:3000`. */
export async function gitInHand(gitAddress: string, origins: readonly string[], token: string): Promise<GitInHand> {
  const folder = await tempDir("manyhands-hand-");
  const state = { token };
  const sockets = new Set<Socket>();
  const [host, port] = [gitAddress.slice(0, gitAddress.lastIndexOf(":")), Number(gitAddress.split(":").at(-1))];
  const relay = createServer((inside) => {
    const outside = connect(port, host);
    outside.write(`MANYHANDS/1 ${state.token}\r\n`);
    for (const socket of [inside, outside]) {
      sockets.add(socket);
      socket.on("error", () => undefined).once("close", () => sockets.delete(socket));
    }
    inside.pipe(outside).pipe(inside);
  });
  const tunnelPort = await listen(relay);
  const env: Record<string, string> = {
    PATH: "/usr/local/bin:/usr/bin:/bin",
    HOME: folder.path,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "Hand",
    GIT_AUTHOR_EMAIL: "hand@example.com",
    GIT_COMMITTER_NAME: "Hand",
    GIT_COMMITTER_EMAIL: "hand@example.com",
    GIT_CONFIG_COUNT: String(origins.length),
  };
  for (const [index, origin] of origins.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = `url.http://127.0.0.1:${tunnelPort}/${origin.replace("://", "/")}/.insteadOf`;
    env[`GIT_CONFIG_VALUE_${index}`] = `${origin}/`;
  }
  return {
    folder: folder.path,
    git: (cwd, ...args) => run("git", [...args], { cwd, env, timeout: 60_000, maxBuffer: 64 * 1024 * 1024 }),
    useToken(next) {
      state.token = next;
    },
    async stop() {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise<void>((resolve) => relay.close(() => resolve()));
      await folder.cleanup();
    },
  };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address ? address.port : 0);
    });
  });
}
