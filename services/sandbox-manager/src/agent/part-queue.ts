import type { OperationPart } from "../drivers/driver.ts";

/** Output bytes on their way to one reader; the agent sends no more before some are taken. */
export const WINDOW_BYTES = 256 * 1024;
const GRANT_BYTES = WINDOW_BYTES / 2;

/** Between frames that arrive and one reader that takes its time. Bounded by the window the agent keeps. */
export type PartQueue = {
  push(part: OperationPart): void;
  fail(error: Error): void;
  readonly parts: AsyncIterable<OperationPart>;
};

/** `grant` lets the agent send that many more bytes; `leave` is called when the reader stops before the end. */
export function createPartQueue(grant: (bytes: number) => void, leave: () => void): PartQueue {
  const waiting: OperationPart[] = [];
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  const stir = () => {
    wake?.();
    wake = undefined;
  };

  async function* read(): AsyncGenerator<OperationPart> {
    let taken = 0;
    let ended = false;
    try {
      for (;;) {
        const part = waiting.shift();
        if (part) {
          yield part;
          if (part.type === "exit") {
            ended = true;
            return;
          }
          taken += part.bytes.length;
          if (taken >= GRANT_BYTES) {
            grant(taken);
            taken = 0;
          }
        } else if (failure) {
          ended = true;
          throw failure;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      if (!ended) leave();
    }
  }

  return {
    push(part) {
      waiting.push(part);
      stir();
    },
    fail(error) {
      failure ??= error;
      stir();
    },
    parts: read(),
  };
}
