/**
 * Create-only publish of one frame: "expected last sequence on this subject = 0". Two writers that saw the same head
 * meet on the same subject and exactly one wins. Idempotent for as long as the log lives.
 */
import { AppError } from "@manyhands/kit";
import type { Bus } from "./bus.ts";
import type { FrameToAppend } from "./frame-to-append.ts";
import { frameHeaders } from "./log-headers.ts";
import { AmbiguousError, request } from "./request.ts";
import { subjects } from "./subjects.ts";

/**
 * What became of it: `stored` (this call stored it), `exists` (something is stored under that number: read and
 * compare, it may be an earlier try of this very frame, and `maybeOurs` says that this call made such a try), `unknown`
 * (no answer; try again or read back).
 */
export type AppendOutcome =
  | { readonly kind: "stored"; readonly sequence: number }
  | { readonly kind: "exists"; readonly maybeOurs?: true }
  | { readonly kind: "unknown"; readonly why: string };

interface PubAck {
  seq?: number;
  stream?: string;
  error?: { code: number; err_code?: number; description?: string };
}

const wrongLastSequence = 10_071;
const maxPerSubjectExceeded = 10_077;
const tooLarge = 10_054;

/**
 * Publishes the frame and waits at most `timeoutMs`. Throws AppError `unavailable` when nothing was sent, `invalid`
 * (TOO_LARGE) when the server refuses its size; every other failure is an outcome.
 */
export async function appendFrame(bus: Bus, frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome> {
  const head = frameHeaders(frame);
  try {
    const reply = await request(bus, subjects.log(frame.sessionId, frame.frame), frame.payload, timeoutMs, head);
    return classify(reply.json<PubAck>());
  } catch (error) {
    if (error instanceof AmbiguousError) return { kind: "unknown", why: error.message };
    throw error;
  }
}

/** Reads the stream's answer. Codes not known to mean "surely not stored" count as unknown. */
export function classify(ack: PubAck): AppendOutcome {
  if (ack.error === undefined) {
    return typeof ack.seq === "number" && ack.stream === "MH_LOG"
      ? { kind: "stored", sequence: ack.seq }
      : { kind: "unknown", why: "the acknowledgement does not come from MH_LOG" };
  }
  const code = ack.error.err_code ?? 0;
  if (code === wrongLastSequence || code === maxPerSubjectExceeded) return { kind: "exists" };
  if (code === tooLarge) {
    throw new AppError("invalid", { reason: "TOO_LARGE", message: "the frame is larger than the stream takes" });
  }
  return { kind: "unknown", why: `${ack.error.description ?? "error"} (${code})` };
}
