/** What must be true of a log that was read back, whatever happened to those who wrote it. Pure. */
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { type Frame, FrameSchema } from "@manyhands/protocol";
import type { Ledger } from "./writers.ts";
import { textOf } from "./writers.ts";

/** A frame as it is stored. */
export interface RawFrame {
  readonly sessionId: string;
  readonly number: number;
  readonly payload: Uint8Array;
}

/** What was found. Everything but `events`, `frames` and `acknowledged` must be 0. */
export interface Findings {
  readonly acknowledged: number;
  readonly events: number;
  readonly frames: number;
  /** Acknowledged, and not there. */
  readonly lost: number;
  /** There more than once. */
  readonly duplicated: number;
  /** Frame numbers or positions that do not follow on the one before. */
  readonly gaps: number;
  /** Not in the writer's order, or not at the position it was told. */
  readonly misplaced: number;
  /** Frames that do not carry the hash of the bytes before them. */
  readonly broken_links: number;
  /** There, although nobody ever sent it. */
  readonly invented: number;
  /** The first of the problems in words. */
  readonly problems: readonly string[];
}

const maxProblems = 10;

/** Checks frames in the order in which they are stored against what the writers were told. */
export function checkLog(stored: readonly RawFrame[], ledger: Pick<Ledger, "acknowledged" | "sent">): Findings {
  const counts = { lost: 0, duplicated: 0, gaps: 0, misplaced: 0, broken_links: 0, invented: 0 };
  const problems: string[] = [];
  const found = (kind: keyof typeof counts, problem: string) => {
    counts[kind] += 1;
    if (problems.length < maxProblems) problems.push(`${kind}: ${problem}`);
  };
  const places = new Map<string, { sessionId: string; position: number }>();
  const newest = new Map<string, number>();
  let events = 0;
  for (const [sessionId, frames] of bySession(stored)) {
    events += checkChain(sessionId, frames, found, (text, position) => {
      if (places.has(text)) found("duplicated", `${text} in ${sessionId} at ${position}`);
      if (!ledger.sent.has(text)) found("invented", `${text} in ${sessionId} at ${position}`);
      places.set(text, { sessionId, position });
      const [writer = "", order = ""] = text.split("-");
      if (Number(order) <= (newest.get(writer) ?? -1)) found("misplaced", `${text} comes after a later one`);
      newest.set(writer, Number(order));
    });
  }
  for (const one of ledger.acknowledged) {
    const place = places.get(one.text);
    if (place === undefined) found("lost", `${one.text} in ${one.sessionId}, acknowledged at ${one.position}`);
    else if (place.position !== one.position || place.sessionId !== one.sessionId)
      found("misplaced", `${one.text} is at ${place.position}, acknowledged at ${one.position}`);
  }
  return { acknowledged: ledger.acknowledged.length, events, frames: stored.length, ...counts, problems };
}

/** Whether nothing is wrong. */
export function isWhole(findings: Findings): boolean {
  return findings.problems.length === 0;
}

function bySession(stored: readonly RawFrame[]): Map<string, RawFrame[]> {
  const sessions = new Map<string, RawFrame[]>();
  for (const frame of stored) {
    const list = sessions.get(frame.sessionId);
    if (list === undefined) sessions.set(frame.sessionId, [frame]);
    else list.push(frame);
  }
  return sessions;
}

/** Answers the number of events. */
function checkChain(
  sessionId: string,
  frames: readonly RawFrame[],
  found: (kind: "gaps" | "broken_links", problem: string) => void,
  onText: (text: string, position: number) => void,
): number {
  let position = 0;
  let before: Uint8Array = new Uint8Array();
  frames.forEach(({ number, payload }, at) => {
    const frame: Frame = fromBinary(FrameSchema, payload);
    if (number !== at) found("gaps", `${sessionId}: frame ${number} in place ${at}`);
    if (Buffer.compare(frame.previousHash, before) !== 0) found("broken_links", `${sessionId}: frame ${number}`);
    if (Number(frame.firstPosition) !== position)
      found("gaps", `${sessionId}: frame ${number} begins at ${frame.firstPosition}, not at ${position}`);
    frame.events.forEach((event, offset) => {
      if (Number(event.position) !== position + offset) found("gaps", `${sessionId}: event at ${event.position}`);
      const text = textOf(event);
      if (text !== undefined) onText(text, Number(event.position));
    });
    position = Number(frame.firstPosition) + frame.events.length;
    before = createHash("sha256").update(payload).digest();
  });
  return position;
}
