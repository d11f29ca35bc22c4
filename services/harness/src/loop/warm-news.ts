import { needsBrain } from "@manyhands/core";
import type { SessionTail, StoredEvent } from "./session-tail.ts";
import type { WarmSession } from "./warm-sessions.ts";

/**
 * What the tail of a warm session says to the brain that drove it last: `work` for it, which is `urgent` when the user
 * interrupts, that it was `taken` by another brain, or `nothing` that it could act on. Frames are heard after they were stored (the server's republish), so work
 * that joins the known log seamlessly may be begun before its wake is delivered; what does not join is left to the wake.
 */
export function judgeNews({ state, tail }: WarmSession): "work" | "urgent" | "taken" | "nothing" {
  const news = heard(tail).filter((event) => event.position >= state.head);
  if (news.some((event) => event.type === "brain.woken")) return "taken";
  const joins = news.every((event, index) => event.position === state.head + index);
  if (!joins || !news.some((event) => needsBrain(event.type))) return "nothing";
  return news.some((event) => event.type === "user.interrupt") ? "urgent" : "work";
}

/** Bytes that are no frame are left to whoever reads the log. */
function heard(tail: SessionTail): readonly StoredEvent[] {
  try {
    return tail.peek();
  } catch {
    return [];
  }
}
