/**
 * Asks a git host, through the vault-proxy and in the name of a session, what a repository's branches point to. The
 * answer is also the proof that the session may read the repository: only then a checkout that was prepared for
 * another session is handed to it. The token is added outside; nothing here sees it.
 */
import { request } from "node:http";
import type { Socket } from "node:net";
import { AppError } from "@manyhands/kit";

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const ANSWER_MS = 20_000;
const HEX = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/** What a repository's refs point to, and which branch is the default one. */
export type Refs = {
  readonly byName: ReadonlyMap<string, string>;
  /** `refs/heads/…`; undefined for an empty repository. */
  readonly head: string | undefined;
};

/** Why a repository could not be had; `type` is a public session error type. */
export class RepositoryError extends Error {
  readonly type: string;

  constructor(type: string, message: string) {
    super(message);
    this.name = "RepositoryError";
    this.type = type;
  }
}

/** Reads the refs of `url` over a connection that already told the proxy who is asking. Throws RepositoryError. */
export async function readRefs(url: string, connect: () => Promise<Socket>): Promise<Refs> {
  const socket = await connect().catch((error: unknown) => {
    throw new RepositoryError(
      "repository_clone_error",
      `the git proxy cannot be reached: ${AppError.internal(error).message}`,
    );
  });
  try {
    const { status, body } = await get(socket, advertisePath(url));
    if (status !== 200) throw refused(status);
    return parseAdvertisement(body);
  } finally {
    socket.destroy();
  }
}

/** `https://host/o/r.git` as the git proxy is asked for it. */
function advertisePath(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `/${protocol.slice(0, -1)}/${host}${pathname.replace(/\/$/, "")}/info/refs?service=git-upload-pack`;
}

function refused(status: number): RepositoryError {
  const types: Readonly<Record<number, string>> = {
    401: "repository_authentication_error",
    403: "repository_forbidden_error",
    404: "repository_not_found_error",
  };
  return new RepositoryError(types[status] ?? "repository_clone_error", `the git host answered with status ${status}`);
}

function get(socket: Socket, path: string): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new RepositoryError("repository_clone_error", why));
    const asking = request({ path, createConnection: () => socket, headers: { host: "git", connection: "close" } });
    asking.setTimeout(ANSWER_MS, () => asking.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    asking.once("error", (error) => fail(`the git host does not answer: ${error.message}`));
    asking.once("response", (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER_BYTES) asking.destroy(new Error("the repository has too many refs"));
        else chunks.push(chunk);
      });
      response.once("error", (error) => fail(`the git host's answer broke off: ${error.message}`));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    asking.end();
  });
}

/** Reads the smart HTTP advertisement, version 0: packet lines of `<id> <name>`, the first with capabilities after a NUL. */
export function parseAdvertisement(body: Buffer): Refs {
  const byName = new Map<string, string>();
  let head: string | undefined;
  for (const line of packetLines(body)) {
    const [ref = "", capabilities = ""] = line.replace(/\n$/, "").split("\0");
    head ??= /(?:^| )symref=HEAD:(\S+)/.exec(capabilities)?.[1];
    const space = ref.indexOf(" ");
    const id = ref.slice(0, space);
    if (space > 0 && HEX.test(id)) byName.set(ref.slice(space + 1), id);
  }
  const detached = byName.get("HEAD");
  head ??= [...byName].find(([name, id]) => name.startsWith("refs/heads/") && id === detached)?.[0];
  return { byName, head };
}

function* packetLines(body: Buffer): Generator<string> {
  for (let at = 0; at + 4 <= body.length; ) {
    const length = Number.parseInt(body.toString("latin1", at, at + 4), 16);
    if (Number.isNaN(length))
      throw new RepositoryError("repository_clone_error", "the git host's answer is no advertisement");
    if (length > 4) yield body.toString("utf8", at + 4, at + length);
    at += Math.max(length, 4);
  }
}
