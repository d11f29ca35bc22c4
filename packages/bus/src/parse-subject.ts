/** Subjects taken apart again. */
import { isSafeToken } from "@manyhands/core";

/** Session and frame number of a log or tail subject; undefined when it is neither. */
export function parseFrameSubject(subject: string): { sessionId: string; frame: number } | undefined {
  const [root, kind, sessionId, frame, ...rest] = subject.split(".");
  if (root !== "mh" || (kind !== "log" && kind !== "tail") || rest.length > 0) return undefined;
  if (sessionId === undefined || !isSafeToken(sessionId) || frame === undefined || !/^\d{1,15}$/.test(frame)) {
    return undefined;
  }
  return { sessionId, frame: Number(frame) };
}

/** Kind and session of a wake subject; undefined when it is not one. */
export function parseWakeSubject(subject: string): { kind: string; sessionId: string } | undefined {
  const [root, topic, kind, sessionId, ...rest] = subject.split(".");
  if (root !== "mh" || topic !== "wake" || rest.length > 0) return undefined;
  if (kind === undefined || sessionId === undefined || !isSafeToken(kind) || !isSafeToken(sessionId)) return undefined;
  return { kind, sessionId };
}
