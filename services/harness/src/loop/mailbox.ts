import type { EventDraft, NewEvent } from "@manyhands/core";
import type { Clock } from "@manyhands/kit";

/** What reaches a runner from outside its loop. */
export type Message =
  /** Something was stored up to this position. */
  | { readonly type: "news"; readonly head: number }
  /** A task ended with facts; `key` names the task. */
  | { readonly type: "facts"; readonly key: string; readonly events: readonly (NewEvent | EventDraft)[] }
  /** A followed operation is proved not to have started. */
  | { readonly type: "sendAgain"; readonly key: string; readonly operationId: string }
  /** A task failed in a way that ends this brain's work on the session. */
  | { readonly type: "failed"; readonly key: string; readonly error: unknown }
  /** Hand the session back at the next boundary; when urgent, without waiting for the model's answer. */
  | { readonly type: "drain"; readonly isUrgent: boolean };

/** The one place a runner waits at: messages in, one waiter out. */
export interface Mailbox {
  push(message: Message): void;
  /** All that is there now, without waiting. */
  take(): Message[];
  /** Resolves when something is there or the time has come (milliseconds since 1970). */
  wait(untilMs?: number): Promise<void>;
}

const maxTimerMs = 2 ** 31 - 1;

/** An empty mailbox. Its size is bounded by the runner's tasks; news of one session collapse into one. */
export function createMailbox(clock: Clock): Mailbox {
  let messages: Message[] = [];
  let wake: (() => void) | undefined;
  return {
    push(message) {
      const last = messages.at(-1);
      if (message.type === "news" && last?.type === "news") messages[messages.length - 1] = message;
      else messages.push(message);
      wake?.();
    },
    take() {
      const taken = messages;
      messages = [];
      return taken;
    },
    async wait(untilMs) {
      if (messages.length > 0) return;
      const timed = untilMs === undefined ? undefined : new AbortController();
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (untilMs === undefined || timed === undefined) return;
        const ms = Math.min(maxTimerMs, Math.max(0, untilMs - clock.nowMs()));
        clock.sleep(ms, timed.signal).then(resolve, resolve);
      });
      wake = undefined;
      timed?.abort();
    },
  };
}
