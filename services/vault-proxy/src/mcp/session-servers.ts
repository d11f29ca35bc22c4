/**
 * The MCP servers of sessions: one client per session and server, kept while it is used. Sessions never share one: a
 * server may remember what a session did.
 */
import type { Clock } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import type { Binding, BoundMcpServer } from "../store/binding-store.ts";
import { type McpClient, mcpClient } from "./client.ts";
import { McpError } from "./mcp-error.ts";
import { nameOf, type SessionCredentials } from "./session-credentials.ts";
import type { Authorized } from "./transport.ts";

/** Clients of all sessions. */
export type SessionServers = {
  /**
   * Runs `work` with the server's client; when the server refuses the credential before anything was done, renews it and
   * runs it once more.
   */
  use<T>(
    session: string,
    binding: Binding,
    server: BoundMcpServer,
    work: (client: McpClient) => Promise<T>,
  ): Promise<T>;
  /** Ends a session's clients. */
  end(session: string): Promise<void>;
  close(): Promise<void>;
};

const IDLE_MS = 300_000;
const MAX_CLIENTS = 2048;

type Entry = { readonly client: McpClient; readonly session: string; usedAtMs: number; running: number };
type Deps = {
  readonly dispatcher: Dispatcher;
  readonly credentials: SessionCredentials;
  readonly clock: Pick<Clock, "nowMs">;
};

/** Clients, made when first needed. */
export function sessionServers({ dispatcher, credentials, clock }: Deps): SessionServers {
  const entries = new Map<string, Entry>();

  const authorize = async (binding: Binding, url: string): Promise<Authorized | undefined> => {
    try {
      const credential = await credentials.current(binding, url);
      if (!credential) return undefined;
      const name = nameOf(credential.ref.credential, credential.version);
      return { header: `Bearer ${credential.token.reveal()}`, name, credential };
    } catch (error) {
      if (error instanceof McpError) throw error;
      throw new McpError("connection", "the credential could not be looked up", { reached: false });
    }
  };
  const make = (session: string, binding: Binding, url: string): Entry => {
    const client = mcpClient({
      dispatcher,
      url: new URL(url),
      nowMs: () => clock.nowMs(),
      authorization: () => authorize(binding, url),
    });
    return { client, session, usedAtMs: clock.nowMs(), running: 0 };
  };
  const drop = async (key: string) => {
    const entry = entries.get(key);
    entries.delete(key);
    await entry?.client.close();
  };
  const sweep = () => {
    const nowMs = clock.nowMs();
    for (const [key, entry] of entries) {
      const isOld = nowMs - entry.usedAtMs > IDLE_MS || entries.size > MAX_CLIENTS;
      if (!isOld) return; // the map is in the order of use
      if (entry.running === 0) drop(key).catch(() => undefined);
    }
  };
  const entryOf = (session: string, binding: Binding, { name, url }: BoundMcpServer): [string, Entry] => {
    // Another URL, vault or workspace is another server to us.
    const key = JSON.stringify([session, name, url, binding.workspace, binding.vaultIds]);
    const entry = entries.get(key) ?? make(session, binding, url);
    entry.usedAtMs = clock.nowMs();
    entries.delete(key);
    entries.set(key, entry);
    sweep();
    return [key, entry];
  };
  const run = async <T>(key: string, entry: Entry, work: (client: McpClient) => Promise<T>): Promise<T> => {
    entry.running += 1;
    try {
      return await work(entry.client);
    } finally {
      entry.running -= 1;
      if (!entries.has(key) && entry.running === 0) entry.client.close().catch(() => undefined);
    }
  };

  return {
    async use(session, binding, server, work) {
      const [key, entry] = entryOf(session, binding, server);
      try {
        return await run(key, entry, work);
      } catch (error) {
        const isRefused = error instanceof McpError && error.kind === "authentication" && error.status !== 0;
        if (!isRefused || error.reached) throw error;
        if (!(await credentials.renew(binding, server.url, error.sentWith))) throw error;
        return run(key, entry, work);
      }
    },
    async end(session) {
      const keys = [...entries].filter(([, entry]) => entry.session === session).map(([key]) => key);
      await Promise.all(keys.map(drop));
    },
    async close() {
      await Promise.all([...entries.keys()].map(drop));
    },
  };
}
