/**
 * Events that are decided or known but not stored yet. Facts (what the model or a tool answered) survive a lost race
 * for the head; decisions are dropped then and made anew (H3).
 */
import { type EventDraft, evolve, type NewEvent, type SessionEvent, type State } from "@manyhands/core";

interface Item {
  readonly event: NewEvent;
  readonly isFact: boolean;
}

/** Types that say nothing the model is shown: they may be stored while its request is already on its way. */
const framing: ReadonlySet<string> = new Set([
  "brain.woken",
  "session.status_running",
  "span.model_request_start",
  "span.model_request_end",
]);

/** Most events of one frame. */
export const maxFrameEvents = 64;
/** Estimated bytes of one frame; session-store takes 512 KiB. */
export const maxFrameBytes = 400 * 1024;

/** The frame that a runner is writing. */
export class PendingFrame {
  private items: Item[] = [];
  private readonly newId: () => string;

  constructor(newId: () => string) {
    this.newId = newId;
  }

  get size(): number {
    return this.items.length;
  }

  /** True when its events may be stored while the model is already being asked. */
  get mayOverlap(): boolean {
    return this.items.every((item) => !item.isFact && framing.has(item.event.type));
  }

  has(type: string): boolean {
    return this.items.some((item) => item.event.type === type);
  }

  add(drafts: readonly (NewEvent | EventDraft)[], isFact: boolean): void {
    for (const draft of drafts) this.items.push({ event: this.identified(draft), isFact });
  }

  /** The first events that fit one frame; at least one. */
  next(): NewEvent[] {
    const events: NewEvent[] = [];
    let bytes = 0;
    for (const { event } of this.items.slice(0, maxFrameEvents)) {
      bytes += Buffer.byteLength(JSON.stringify(event));
      if (events.length > 0 && bytes > maxFrameBytes) break;
      events.push(event);
    }
    return events;
  }

  /** They are stored. */
  stored(count: number): void {
    this.items = this.items.slice(count);
  }

  dropDecisions(): void {
    this.items = this.items.filter((item) => item.isFact);
  }

  /** Drops what is in the log already: an append whose answer was lost. True when there was any. */
  dropStored(ids: ReadonlySet<string>): boolean {
    const { length } = this.items;
    this.items = this.items.filter((item) => !ids.has(item.event.id));
    return this.items.length < length;
  }

  clear(): void {
    this.items = [];
  }

  /** The state as it will be once everything here is stored. */
  foldOnto(state: State, epoch: number, now: number): State {
    let next = state;
    for (const { event } of this.items) {
      const stored: SessionEvent = { ...event, position: next.head, at: now, epoch };
      next = evolve(next, stored);
    }
    return next;
  }

  private identified(draft: NewEvent | EventDraft): NewEvent {
    // The draft is the event but for its id; TypeScript does not follow that over the union of all types.
    return "id" in draft ? draft : ({ ...draft, id: this.newId() } as NewEvent);
  }
}
