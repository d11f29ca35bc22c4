/** The wake queue: one pending wake per session, held by beats, delivered again when its holder stops beating. */
import type { Wake, WakeConsumer, WakeConsumerOptions } from "@manyhands/bus";
import type { Driver } from "../../services/harness/src/loop/drive-wakes.ts";
import type { Process } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";

interface Pending {
  readonly sessionId: string;
  delivery: number;
  /** Who holds it, until when unless it beats. */
  holder?: { readonly process: Process; untilMs: number };
}

/** A brain that may take a wake which was delivered to another. */
export interface Taker {
  readonly process: Process;
  readonly driver: Pick<Driver, "wants" | "take">;
}

interface Consumer {
  readonly process: Process;
  readonly options: WakeConsumerOptions;
  readonly held: Set<string>;
  isStopped: boolean;
}

const ackWaitMs = 1_250;
const maxDelayMs = 2_000;

/** The queue of one harness kind. */
export class WakeQueue {
  private readonly pending = new Map<string, Pending>();
  private readonly consumers: Consumer[] = [];
  private readonly scheduler: Scheduler;

  private readonly onFailed: (brain: string, sessionId: string, error: unknown) => void;
  private readonly takers: () => readonly Taker[];

  constructor(
    scheduler: Scheduler,
    onFailed: (brain: string, sessionId: string, error: unknown) => void,
    takers: () => readonly Taker[] = () => [],
  ) {
    this.scheduler = scheduler;
    this.onFailed = onFailed;
    this.takers = takers;
  }

  get isEmpty(): boolean {
    return this.pending.size === 0;
  }

  has(sessionId: string): boolean {
    return this.pending.has(sessionId);
  }

  publish(sessionId: string): "published" | "pending" {
    if (this.pending.has(sessionId)) return "pending";
    this.pending.set(sessionId, { sessionId, delivery: 0 });
    this.offer(sessionId, this.scheduler.between(0, 2));
    return "published";
  }

  consume(process: Process, options: WakeConsumerOptions): WakeConsumer {
    const consumer: Consumer = { process, options, held: new Set(), isStopped: false };
    this.consumers.push(consumer);
    for (const sessionId of this.pending.keys()) this.offer(sessionId, 0);
    return {
      held: () => consumer.held.size,
      takeWaiting: (handle) =>
        process.call("wake waiting", () => {
          const waiting = [...this.pending.values()].find((one) => one.holder === undefined);
          if (waiting === undefined || consumer.held.has(waiting.sessionId)) return false;
          this.give(waiting, { ...consumer, options: { ...options, handle } });
          return true;
        }),
      stop: async () => {
        consumer.isStopped = true;
      },
    };
  }

  private offer(sessionId: string, delayMs: number): void {
    this.scheduler.after(delayMs, () => {
      const pending = this.pending.get(sessionId);
      if (pending === undefined || pending.holder !== undefined) return;
      const free = this.consumers.filter(
        ({ process, options, held, isStopped }) =>
          process.isResponsive &&
          !isStopped &&
          held.size < options.concurrency &&
          options.room?.isFull() !== true &&
          !held.has(sessionId),
      );
      const consumer = this.scheduler.pick(free);
      if (consumer === undefined) this.offer(sessionId, 50);
      else this.give(pending, consumer);
    });
  }

  private give(pending: Pending, consumer: Consumer): void {
    const { sessionId } = pending;
    const { process, options } = consumer;
    pending.delivery += 1;
    consumer.held.add(sessionId);
    const wake = this.hold(pending, process, options.kind);
    process.deliver(() => void this.drive(consumer, wake));
  }

  /** The wake in the hands of a process; whoever held it before holds it no more. */
  private hold(pending: Pending, process: Process, kind: string): Wake {
    const { sessionId } = pending;
    const holder = { process, untilMs: this.scheduler.nowMs + ackWaitMs };
    pending.holder = holder;
    let isBeating = true;
    const isMine = () => this.pending.get(sessionId) === pending && pending.holder === holder;
    const beat = () => {
      if (isBeating && process.isResponsive) holder.untilMs = this.scheduler.nowMs + ackWaitMs;
      if (isMine()) this.scheduler.after(ackWaitMs / 3, beat);
    };
    const expire = () => {
      if (!isMine()) return;
      if (this.scheduler.nowMs < holder.untilMs) {
        this.scheduler.after(holder.untilMs - this.scheduler.nowMs, expire);
        return;
      }
      delete pending.holder;
      this.offer(sessionId, 0);
    };
    beat();
    expire();
    return {
      kind,
      sessionId,
      delivery: pending.delivery,
      done: () => {
        isBeating = false;
        return process.call("wake done", () => {
          if (isMine()) this.pending.delete(sessionId);
        });
      },
      release: async (delayMs = 0) => {
        isBeating = false;
        await process.call("wake release", () => {
          if (!isMine()) return;
          delete pending.holder;
          this.offer(sessionId, delayMs);
        });
      },
      abandon: () => {
        isBeating = false;
      },
      pass: async () => {
        const offer = () => isMine() && this.isTaken(pending, process, kind);
        const isTaken = await process.call("wake offer", offer).catch(() => false); // a lost answer: both drive, one is fenced
        if (isTaken) isBeating = false;
        return isTaken;
      },
    };
  }

  /** Offers a held wake to the other brains; the first that wants it holds it from then on. */
  private isTaken(pending: Pending, from: Process, kind: string): boolean {
    const wants = ({ process, driver }: Taker) =>
      process !== from && process.isResponsive && driver.wants(pending.sessionId);
    const taker = this.takers().find(wants);
    if (taker === undefined) return false;
    const wake = this.hold(pending, taker.process, kind);
    taker.process.deliver(() => void this.drive(undefined, wake, taker));
    return true;
  }

  /** As the real consumer does: what is not settled is done; what throws is given back after a pause. */
  private async drive(consumer: Consumer | undefined, wake: Wake, taker?: Taker): Promise<void> {
    let settled = false;
    const settle = async (how: () => Promise<void>) => {
      if (settled) return;
      settled = true;
      await how();
    };
    const once: Wake = {
      ...wake,
      done: () => settle(() => wake.done()),
      release: (delayMs) => settle(() => wake.release(delayMs)),
      abandon: () => {
        settled = true;
        wake.abandon();
      },
      pass: async () => {
        const isTaken = !settled && (await wake.pass());
        settled ||= isTaken;
        return isTaken;
      },
    };
    try {
      await (consumer === undefined ? taker?.driver.take(once) : consumer.options.handle(once));
      await once.done();
    } catch (error) {
      this.onFailed((consumer ?? taker)?.process.name ?? "", wake.sessionId, error);
      await once.release(Math.min(maxDelayMs, 200 * wake.delivery)).catch(() => undefined);
    }
    consumer?.held.delete(wake.sessionId);
  }
}
