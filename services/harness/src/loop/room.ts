/**
 * The places of one process: each session that it drives has one, of whatever kind of harness, whether a wake began it or
 * the news itself.
 *
 * F1 At most `capacity` are taken, and one more for an interrupt of a session that waits in the queue.
 * F2 A quarter of them, and at least one, is given by the queue alone, in the order of asking: sessions that talk on and
 *    on begin their turns on the news, and cannot keep the others out.
 * F3 While all are taken and wakes wait that no brain has room for, the session that has held its place longest is handed
 *    back to the end of the queue once it has held it for `sliceMs`: long turns cannot keep the others out either.
 */
import type { WakeRoom } from "@manyhands/bus";
import type { Clock, Logger } from "@manyhands/kit";

/** What places are made of. */
export interface RoomPorts {
  readonly capacity: number;
  /** So long a session keeps its place while others wait. */
  readonly sliceMs: number;
  /** Takes a wake that waits and that no brain has room for: its session calls `whenMine`. False when there is none. */
  readonly takeWaiting: () => Promise<boolean>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborts when the process stops: from then on everything is handed back anyway. */
  readonly signal: AbortSignal;
}

interface Place {
  readonly handBack: () => void;
  readonly sinceMs: number;
  isHandedBack: boolean;
}

/** Share of the places that sessions may take by themselves. */
const ownShare = 3 / 4;

/** The places of a process. */
export class Room implements WakeRoom {
  private readonly ports: RoomPorts;
  /** In the order in which they were taken. */
  private readonly places = new Map<string, Place>();
  private readonly waiters = new Set<() => void>();
  /** Sessions that wait for a place here, held by their wakes. */
  private held = 0;
  private isWatching = false;

  constructor(ports: RoomPorts) {
    this.ports = ports;
  }

  isFull(): boolean {
    return this.places.size >= this.ports.capacity;
  }

  /** True when a session may be begun without the queue (F2), which an interrupt may even if all places are taken. */
  mayBegin(isUrgent: boolean): boolean {
    const { capacity } = this.ports;
    return this.places.size < (isUrgent ? capacity + 1 : Math.floor(capacity * ownShare));
  }

  whenFree(signal: AbortSignal): Promise<void> {
    if (signal.aborted || !this.isFull()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener("abort", done);
        this.waiters.delete(done);
        resolve();
      };
      signal.addEventListener("abort", done, { once: true });
      this.waiters.add(done);
    });
  }

  /** Waits for a place as long as it takes, which a slice bounds. */
  async whenMine(signal: AbortSignal): Promise<void> {
    this.held += 1;
    try {
      while (this.isFull() && !signal.aborted) await this.whenFree(signal);
    } finally {
      this.held -= 1;
    }
  }

  /** A session takes a place. `handBack` asks for it at the session's next event boundary. */
  enter(sessionId: string, handBack: () => void): void {
    this.places.set(sessionId, { handBack, sinceMs: this.ports.clock.nowMs(), isHandedBack: false });
    if (!this.isWatching) void this.watch();
  }

  leave(sessionId: string): void {
    this.places.delete(sessionId);
    for (const done of [...this.waiters]) done();
  }

  /** Looks whether anybody waits: once per slice at most, and only while there is no room (F3). */
  private async watch(): Promise<void> {
    const { clock, sliceMs, signal, logger } = this.ports;
    this.isWatching = true;
    try {
      for (let next = this.longest(); next !== undefined && !signal.aborted; next = this.longest()) {
        const leftMs = next.sinceMs + sliceMs - clock.nowMs();
        if (leftMs <= 0) await this.makeRoom();
        await clock.sleep(leftMs > 0 ? leftMs : sliceMs, signal);
      }
    } catch (error) {
      if (!signal.aborted) logger.warn({ err: error }, "nobody looks whether sessions wait for a place");
    } finally {
      this.isWatching = false;
    }
  }

  /** The place that has been held longest; undefined while there is room, or when all are being handed back. */
  private longest(): Place | undefined {
    if (!this.isFull()) return undefined;
    return [...this.places.values()].find((place) => !place.isHandedBack);
  }

  /** As many of those whose slice is over are handed back as others wait. */
  private async makeRoom(): Promise<void> {
    const { takeWaiting, clock, sliceMs, logger } = this.ports;
    const all = () => [...this.places.values()];
    for (const place of all().filter((one) => !one.isHandedBack && one.sinceMs + sliceMs <= clock.nowMs())) {
      const comingFree = all().filter((one) => one.isHandedBack).length;
      try {
        if (this.held <= comingFree && !(await takeWaiting())) return;
      } catch (error) {
        logger.debug({ err: error }, "it cannot be told whether sessions wait for a place");
        return;
      }
      place.isHandedBack = true;
      place.handBack();
    }
  }
}
