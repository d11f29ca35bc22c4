/**
 * Which token deltas one connection may see, so that the official client's accumulator never throws. Pure.
 *
 * P1: nothing of an event before its `event_start`, which is sent once. A connection that joined in the middle gets no
 * preview of that event. P2: block indices have no gap; a delta beyond the next index ends the preview. P3: nothing
 * after the final event of the same id, nor after the model request's end. P4: thinking is start only.
 */
import type { Delta } from "@manyhands/protocol";
import type { StreamEvent } from "../sdk-types.ts";

/** Event types whose previews can be asked for. */
export const previewTypes = ["agent.message", "agent.thinking"] as const;
/** One of `previewTypes`. */
export type PreviewType = (typeof previewTypes)[number];

type Preview = Extract<StreamEvent, { type: "event_start" } | { type: "event_delta" }>;

/** The previews of one connection. */
export type Previews = {
  /** What to send for a delta, or undefined. */
  delta(delta: Delta): Preview | undefined;
  /** A stored event goes out; ends the previews it ends. */
  stored(event: { readonly id: string; readonly type: string }): void;
};

/** Previews open at once; a model writes one message at a time, so more means that their ends were missed. */
const MAX_OPEN = 64;

/** Previews of the asked types. */
export function createPreviews(wanted: readonly PreviewType[]): Previews {
  /** Next block index by event id. */
  const open = new Map<string, number>();
  return {
    delta({ eventId, eventType, kind }) {
      const type = wanted.find((candidate) => candidate === eventType);
      if (type === undefined) return undefined;
      if (kind.case === "start") {
        if (open.has(eventId)) return undefined;
        if (open.size >= MAX_OPEN) open.clear();
        open.set(eventId, 0);
        return { type: "event_start", event: { type, id: eventId } };
      }
      const next = open.get(eventId);
      if (kind.case !== "text" || next === undefined || type === "agent.thinking") return undefined;
      const { index, text } = kind.value;
      if (index > next) {
        open.delete(eventId);
        return undefined;
      }
      open.set(eventId, Math.max(next, index + 1));
      return {
        type: "event_delta",
        event_id: eventId,
        delta: { type: "content_delta", index, content: { type: "text", text } },
      };
    },
    stored({ id, type }) {
      open.delete(id);
      if (type === "span.model_request_end") open.clear();
    },
  };
}
