/**
 * Does memory grow with the length of a log? Appends to one session and then watches it from its beginning, looking at
 * the memory of the process after forced collections at every tenth.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { AppError } from "@manyhands/kit";
import { agentMessage } from "./events.ts";
import { type Rig, startRig } from "./rig.ts";
import type { Row } from "./rows.ts";
import { median } from "./statistics.ts";

/** What to run. */
export interface HeapRun {
  /** Events to append and then to watch. */
  readonly events: number;
  readonly progress: (words: string) => void;
}

const steps = 10;
const frameEvents = 20;
const textBytes = 200;
const mebibyte = 1024 * 1024;

/** The rows `heap_append` and `heap_watch`: memory at the end against memory after the first tenth. */
export async function heapRows({ events, progress }: HeapRun): Promise<Row[]> {
  const rig = await startRig();
  try {
    const sessionId = await rig.direct.newSession();
    const appended = await append(rig, sessionId, events, progress);
    const watched = await watch(rig, sessionId, events, progress);
    return [
      heapRow("heap_append", appended, `${events} events appended to one session in frames of ${frameEvents}`),
      heapRow("heap_watch", watched, `a watch of ${events} events from the first one on`),
    ];
  } finally {
    await rig.stop();
  }
}

/** How far memory strays from its median, as a share of it: the bar is 0.2. */
export function strayOf(bytes: readonly number[]): number {
  const middle = median(bytes);
  return Math.max(...bytes.map((one) => Math.abs(one - middle))) / middle;
}

function heapRow(name: string, bytes: readonly number[], what: string): Row {
  const [first = 0, last = 0] = [bytes[0], bytes.at(-1)];
  const all = bytes.map((one) => (one / mebibyte).toFixed(1)).join(" ");
  const note = `${what}; strays ${(strayOf(bytes) * 100).toFixed(1)} % from its median; each tenth: ${all}`;
  return { name, unit: "MiB", ours: last / mebibyte, floor: first / mebibyte, ratio: last / first, note };
}

async function append(rig: Rig, sessionId: string, events: number, progress: HeapRun["progress"]): Promise<number[]> {
  const bytes: number[] = [];
  const frames = Math.ceil(events / frameEvents);
  for (let frame = 1; frame <= frames; frame += 1) {
    await rig.direct.emit(
      sessionId,
      Array.from({ length: frameEvents }, () => agentMessage(textBytes)),
    );
    if (frame % Math.ceil(frames / steps) !== 0 && frame !== frames) continue;
    bytes.push(usedBytes());
    progress(`heap: ${frame * frameEvents} events appended, ${toText(bytes)}`);
  }
  return bytes;
}

async function watch(rig: Rig, sessionId: string, events: number, progress: HeapRun["progress"]): Promise<number[]> {
  const bytes: number[] = [];
  const end = new AbortController();
  let seen = 0;
  for await (const position of rig.direct.watch(sessionId, 0, end.signal)) {
    if (position === undefined) break;
    if (position !== seen) throw AppError.internal(new Error(`position ${position} instead of ${seen}`));
    seen += 1;
    if (seen % Math.ceil(events / steps) !== 0) continue;
    bytes.push(usedBytes());
    progress(`heap: ${seen} events watched, ${toText(bytes)}`);
  }
  end.abort();
  if (seen <= events) throw AppError.internal(new Error(`${seen} events were seen of ${events}`));
  return bytes;
}

const toText = (bytes: readonly number[]) => `${((bytes.at(-1) ?? 0) / mebibyte).toFixed(1)} MiB`;

/** Bytes in use after two full collections, inside and outside the heap. */
function usedBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  for (let n = 0; n < 2; n += 1) if (typeof collect === "function") collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
