/** A simulated process: what reaches it, and what it asks of others over a network that loses, delays and repeats. */
import { AppError, type Clock } from "@manyhands/kit";
import type { Faults } from "./faults.ts";
import type { Scheduler } from "./scheduler.ts";

const failMs = 200;

/** A promise that is never settled: whoever waits for it is dead. */
function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}

/** One life of a process. Dead, it neither sends nor hears; paused, it hears everything later. */
export class Process {
  readonly name: string;
  readonly clock: Clock;
  isAlive = true;
  private isPaused = false;
  private held: (() => void)[] = [];
  private readonly scheduler: Scheduler;
  private readonly faults: Faults;
  private readonly onCrash: (site: string) => void;

  constructor(name: string, scheduler: Scheduler, faults: Faults, onCrash: (site: string) => void) {
    this.name = name;
    this.scheduler = scheduler;
    this.faults = faults;
    this.onCrash = onCrash;
    this.clock = { nowMs: () => scheduler.nowMs, sleep: (ms, signal) => this.sleep(ms, signal) };
  }

  /** True while it runs and is not stopped: only then are its leases kept. */
  get isResponsive(): boolean {
    return this.isAlive && !this.isPaused;
  }

  /** SIGKILL. */
  crash(site: string): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.held = [];
    this.onCrash(site);
  }

  /** SIGSTOP for a while. */
  pause(ms: number, onResume: () => void): void {
    if (!this.isResponsive) return;
    this.isPaused = true;
    this.scheduler.after(ms, () => {
      if (!this.isAlive) return;
      this.isPaused = false;
      onResume();
      const { held } = this;
      this.held = [];
      for (const deliver of held) deliver();
    });
  }

  /** Something reaches it. */
  deliver(what: () => void): void {
    if (!this.isAlive) return;
    if (this.isPaused) this.held.push(what);
    else what();
  }

  /** A moment at which the process may die. True when it did. */
  mayCrash(site: string): boolean {
    if (!this.isAlive || !this.scheduler.chance(this.faults.crash)) return !this.isAlive;
    this.crash(site);
    return true;
  }

  /** Asks another process. `site` names the call where crashes are counted. */
  call<T>(site: string, serve: () => T, signal?: AbortSignal): Promise<T> {
    if (!this.isAlive || this.mayCrash(`${site}: not sent`)) return never();
    return new Promise<T>((resolve, reject) => {
      const { scheduler, faults } = this;
      const fail = (error: unknown, afterMs: number) =>
        scheduler.after(afterMs, () => this.deliver(() => reject(error)));
      signal?.addEventListener(
        "abort",
        () => reject(new AppError("cancelled", { reason: "CANCELLED", message: "cancelled" })),
        {
          once: true,
        },
      );
      const lost = () => AppError.unavailable("UNAVAILABLE", `${site}: no answer`);
      scheduler.after(scheduler.between(0, 3), () => {
        if (scheduler.chance(faults.requestLost)) {
          fail(lost(), failMs);
          return;
        }
        const answer = answerOf(serve);
        if ("value" in answer && scheduler.chance(faults.twice)) answerOf(serve);
        if (this.mayCrash(`${site}: not answered`)) return;
        if (scheduler.chance(faults.replyLost)) fail(lost(), failMs);
        else
          scheduler.after(scheduler.between(0, 3), () =>
            this.deliver(() => ("value" in answer ? resolve(answer.value) : reject(answer.error))),
          );
      });
    });
  }

  private sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (!this.isAlive) return never();
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      this.scheduler.after(ms, () => this.deliver(resolve));
    });
  }
}

function answerOf<T>(serve: () => T): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: serve() };
  } catch (error) {
    return { error };
  }
}
