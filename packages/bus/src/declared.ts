/** Which subjects are in the table, and a listener that finds any that are not: the proof that the bus document is whole. */
import type { Bus } from "./bus.ts";
import { streamTable } from "./streams.ts";
import { subjectTable } from "./subjects.ts";

const natsOwn = ["$JS.", "$SYS.", "$SRV.", "_INBOX"];

const declared: readonly (readonly string[])[] = [
  ...subjectTable.map((row) => row.address.replaceAll(/\{\w+\}/g, "*").split(".")),
  ...streamTable.flatMap((row) => (row.bucket === undefined ? [] : row.subjects.map((subject) => subject.split(".")))),
];

/** True when the subject is in the table, a declared bucket's, or NATS's own. */
export function isDeclared(subject: string): boolean {
  if (natsOwn.some((prefix) => subject.startsWith(prefix))) return true;
  const tokens = subject.split(".");
  return declared.some((pattern) => matches(pattern, tokens));
}

/** Throws when the subject is not in the table. A bug of the caller, not an error of a user. */
export function assertDeclared(subject: string): void {
  if (!isDeclared(subject)) throw new Error(`subject ${subject} is not in the table of packages/bus`);
}

function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  if (pattern.at(-1) === ">")
    return tokens.length >= pattern.length && pattern.slice(0, -1).every((token, i) => token === tokens[i]);
  return pattern.length === tokens.length && pattern.every((token, i) => token === "*" || token === tokens[i]);
}

/** What `observeUndeclared` saw. */
export interface UndeclaredObserver {
  /** Distinct undeclared subjects so far, in order of appearance; at most 1000. */
  readonly seen: () => readonly string[];
  /** Number of messages seen altogether, to prove that it listened. */
  readonly total: () => number;
  /** Ends it. */
  stop(): void;
}

/** Listens to everything on the bus and collects subjects outside the table. For tests. `inboxes`: further reply prefixes. */
export async function observeUndeclared(bus: Bus, inboxes: readonly string[] = []): Promise<UndeclaredObserver> {
  const found = new Set<string>();
  let total = 0;
  const subscription = bus.connection.subscribe(">", {
    callback: (error, msg) => {
      if (error !== null) return;
      total += 1;
      const reply = inboxes.some((prefix) => msg.subject.startsWith(`${prefix}.`));
      if (!reply && !isDeclared(msg.subject) && found.size < 1000) found.add(msg.subject);
    },
  });
  await bus.connection.flush();
  return { seen: () => [...found], total: () => total, stop: () => subscription.unsubscribe() };
}
