/**
 * What a push asked for, and what came of it, judged by the refs of its repository. Pure.
 *
 * O1 a ref that is as the push wanted it was moved: COMPLETED. O2 a ref that is as the push found it was not:
 * NOT_STARTED, to be believed only once the host had time to end what it may still be doing. O3 anything else was moved
 * by somebody else too, before or after: UNKNOWN.
 */
import { pktLineAt } from "./pkt-line.ts";

/** One ref to move. An object id of zeros: it did not exist, or is to be deleted. */
export type PushCommand = { readonly ref: string; readonly old: string; readonly new: string };

/** What became of one ref. */
export type RefOutcome = PushCommand & { readonly outcome: "COMPLETED" | "NOT_STARTED" | "UNKNOWN" };

/** What became of a push: the same for all of its refs, else UNKNOWN; the refs then tell. */
export type PushOutcome = { readonly outcome: RefOutcome["outcome"]; readonly refs: readonly RefOutcome[] };

/** Refs that one push may move; more are refused. */
export const MAX_COMMANDS = 1000;

const COMMAND = /^([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) (refs\/[\x21-\x7e\u0080-\uffff]{1,1000})$/;
const ADVERTISED = /^([0-9a-f]{40}|[0-9a-f]{64}) ([^\0\n]+)/;
const ZEROS = /^0+$/;

/**
 * The commands at the beginning of a `git-receive-pack` request; none in the empty request by which git tries the way.
 * `more` when they are not all there yet, `bad` when it is something else.
 */
export function parsePushCommands(bytes: Buffer): readonly PushCommand[] | "more" | "bad" {
  const commands: PushCommand[] = [];
  for (let at = 0; commands.length <= MAX_COMMANDS; ) {
    const line = pktLineAt(bytes, at);
    if (line === "more" || line === "bad") return line;
    if (line.data === undefined) return commands;
    at = line.end;
    const text = (line.data.toString("utf8").split("\0")[0] ?? "").replace(/\n$/, "");
    if (/^shallow [0-9a-f]+$/.test(text)) continue;
    const [, old, wanted, ref] = COMMAND.exec(text) ?? [];
    if (old === undefined || wanted === undefined || ref === undefined) return "bad";
    commands.push({ ref, old, new: wanted });
  }
  return "bad";
}

/** The refs that a `git-receive-pack` advertisement lists; undefined when it is none. */
export function parseAdvertisedRefs(bytes: Buffer): ReadonlyMap<string, string> | undefined {
  const refs = new Map<string, string>();
  let flushes = 0;
  for (let at = 0; at < bytes.byteLength; ) {
    const line = pktLineAt(bytes, at);
    if (line === "more" || line === "bad") return undefined;
    at = line.end;
    if (line.data === undefined) {
      flushes += 1;
      if (flushes === 2) return refs; // the first one ends the announcement of the service
      continue;
    }
    const text = line.data.toString("utf8");
    if (flushes === 0) {
      if (text.trim() !== "# service=git-receive-pack") return undefined;
      continue;
    }
    const [, id, name] = ADVERTISED.exec(text) ?? [];
    // "capabilities^{}" stands for no refs at all.
    if (id !== undefined && name?.startsWith("refs/")) refs.set(name, id);
  }
  return undefined;
}

/** Compares what a push wanted with the refs as they are now. */
export function judgePush(commands: readonly PushCommand[], now: ReadonlyMap<string, string>): PushOutcome {
  const refs = commands.map((command) => ({ ...command, outcome: judgeRef(command, now.get(command.ref)) }));
  const outcomes = new Set(refs.map(({ outcome }) => outcome));
  const [only] = outcomes;
  return { outcome: outcomes.size === 1 && only !== undefined ? only : "UNKNOWN", refs };
}

/** A push of which nothing is known. */
export function unknownPush(commands: readonly PushCommand[]): PushOutcome {
  return { outcome: "UNKNOWN", refs: commands.map((command) => ({ ...command, outcome: "UNKNOWN" })) };
}

function judgeRef(command: PushCommand, now: string | undefined): RefOutcome["outcome"] {
  const isAt = (id: string) => (ZEROS.test(id) ? now === undefined : now === id);
  if (isAt(command.new)) return "COMPLETED";
  return isAt(command.old) ? "NOT_STARTED" : "UNKNOWN";
}
