import { createHash } from "node:crypto";
import { createServer, type Server } from "node:net";
import { readJsonIfThere, writePrivateFile } from "./private-file.ts";
import { SetupError } from "./setup-error.ts";

/** Below the ranges operating systems take outgoing ports from, so a chosen port stays free while nobody listens. */
const FIRST_PORT = 21_000;
const SLOTS = 200;
const SLOT_SIZE = 50;
const LAST_PORT = FIRST_PORT + SLOTS * SLOT_SIZE;

/**
 * One free loopback port per name, remembered in `file`: the next start gets the same ones where they are still
 * free. Each file begins looking at a place of its own, so two checkouts started together do not race for ports.
 */
export async function choosePorts(file: string, names: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const remembered = readRemembered(file);
  const held = new Map<string, HeldPort>();
  try {
    // Remembered ports first, all of them: a name that needs a new one must not take its neighbour's.
    for (const name of names) {
      const before = remembered.get(name);
      const again = before === undefined ? undefined : await hold(before);
      if (again !== undefined) held.set(name, again);
    }
    const candidates = candidatesFor(file);
    for (const name of names) if (!held.has(name)) held.set(name, await holdFirst(candidates));
  } finally {
    await Promise.all([...held.values()].map(({ server }) => close(server)));
  }
  const chosen = new Map([...held].map(([name, { port }]) => [name, port]));
  writePrivateFile(file, `${JSON.stringify(Object.fromEntries([...remembered, ...chosen]), null, 2)}\n`);
  return chosen;
}

interface HeldPort {
  readonly port: number;
  readonly server: Server;
}

function* candidatesFor(file: string): Generator<number, undefined> {
  const slot = createHash("sha256").update(file).digest().readUInt32BE() % SLOTS;
  const start = slot * SLOT_SIZE;
  for (let step = 0; step < LAST_PORT - FIRST_PORT; step += 1) {
    yield FIRST_PORT + ((start + step) % (LAST_PORT - FIRST_PORT));
  }
}

async function holdFirst(candidates: Generator<number, undefined>): Promise<HeldPort> {
  for (let next = candidates.next(); next.done !== true; next = candidates.next()) {
    const held = await hold(next.value);
    if (held !== undefined) return held;
  }
  throw new SetupError(`no free port between ${FIRST_PORT} and ${LAST_PORT} on 127.0.0.1`, {
    advice: "Stop some of the programs that listen there.",
  });
}

function hold(port: number): Promise<HeldPort | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resolve({ port, server }));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function readRemembered(file: string): Map<string, number> {
  const stored = readJsonIfThere(file);
  if (typeof stored !== "object" || stored === null) return new Map();
  const isPort = (entry: [string, unknown]): entry is [string, number] => Number.isInteger(entry[1]);
  return new Map(Object.entries(stored).filter(isPort));
}
