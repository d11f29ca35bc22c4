/** Previews of what the model is saying: coalesced, held back until the brain is known to hold the session. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Clock } from "@manyhands/kit";
import { type Delta, DeltaSchema } from "@manyhands/protocol";
import type { ModelListener } from "../model/model.ts";

/** A listener that publishes. */
export interface DeltaPublisher extends ModelListener {
  /** From now on what was held back, and what comes, is published. */
  open(): void;
  /** Publishes the rest, so that previews end before the durable events come. */
  close(): void;
}

/** Publishes text of one block at most once per interval; the first piece goes out at once. */
export function createDeltaPublisher(
  publish: (delta: Delta) => void,
  intervalMs: number,
  clock: Pick<Clock, "sleep">,
): DeltaPublisher {
  let held: MessageInitShape<typeof DeltaSchema>[] = [];
  let isOpen = false;
  let isPausing = false;
  const closed = new AbortController();
  const flush = () => {
    const ready = held;
    held = [];
    for (const delta of ready) publish(create(DeltaSchema, delta));
  };
  const schedule = () => {
    if (!isOpen || isPausing) return;
    flush();
    isPausing = true;
    clock.sleep(intervalMs, closed.signal).then(
      () => {
        isPausing = false;
        if (held.length > 0) schedule();
      },
      () => undefined, // closed meanwhile
    );
  };
  return {
    started(eventId, eventType) {
      held.push({ eventId, eventType, kind: { case: "start", value: {} } });
      schedule();
    },
    text(eventId, index, text) {
      const last = held.at(-1);
      const isSame = last?.eventId === eventId && last.kind?.case === "text" && last.kind.value.index === index;
      if (isSame && last.kind?.case === "text") last.kind.value.text += text;
      else held.push({ eventId, eventType: "agent.message", kind: { case: "text", value: { index, text } } });
      schedule();
    },
    open() {
      isOpen = true;
      if (held.length > 0) schedule();
    },
    close() {
      closed.abort();
      if (isOpen) flush();
      isOpen = false;
    },
  };
}
