/**
 * How far the log was known to reach, kept in another stream. A server that finds damaged bytes when it rebuilds a
 * stream drops them and everything behind them and starts as if nothing had been there: the ends of sessions are gone,
 * and the hash chain of what is left is whole. Only a witness outside the log can tell.
 */
import { type Bus, createDirectReader, putMessage, readMessages, streamFacts, subjects } from "@manyhands/bus";
import { AppError, type Clock, type Logger, toAppError } from "@manyhands/kit";

const stream = "MH_INDEX";
const timeoutMs = 10_000;
/** What was stored in this time before a damage may go unnoticed. */
const everyMs = 500;

/** The witness. */
export interface LogMark {
  /** Throws AppError `unavailable`/LOG_DAMAGED when the log ends before the mark, or was made anew. */
  check(): Promise<void>;
  /** Moves the mark along with the log until the signal fires; answers how to wait for the last move. */
  keep(reach: () => number, signal: AbortSignal): () => Promise<void>;
}

interface Mark {
  readonly sequence: number;
  /** When the log was made that it speaks of. */
  readonly log: string;
}

/** The mark of the log on this bus. */
export function createLogMark(bus: Bus, clock: Clock, logger: Logger): LogMark {
  const subject = subjects.index("mark", "head");
  const move = async (sequence: number) => {
    const { created } = await streamFacts(bus, "MH_LOG", timeoutMs);
    const payload = Buffer.from(JSON.stringify({ sequence, log: created } satisfies Mark));
    await putMessage(bus, { stream, subject, payload, timeoutMs });
  };
  return {
    async check() {
      const reader = createDirectReader(bus);
      try {
        // The mark first: it is never ahead of the log, whoever else moves it meanwhile.
        const [message] = await readMessages(reader, { stream, subjects: [subject], timeoutMs });
        const mark = message === undefined ? undefined : parseMark(message.data);
        if (mark !== undefined) compare(mark, await streamFacts(bus, "MH_LOG", timeoutMs));
      } finally {
        reader.close();
      }
    },
    keep(reach, signal) {
      let kept = -1;
      const keepUp = async () => {
        const sequence = reach();
        if (sequence === kept || !bus.connected()) return;
        try {
          await move(sequence);
          kept = sequence;
        } catch (error) {
          logger.warn({ err: toAppError(error) }, "how far the log reaches was not noted; tried again soon");
        }
      };
      const loop = (async () => {
        while (!signal.aborted) {
          await keepUp();
          await clock.sleep(everyMs, signal).catch(() => undefined);
        }
        await keepUp();
      })();
      return () => loop;
    },
  };
}

function compare(mark: Mark, log: { readonly created: string; readonly lastSequence: number }): void {
  if (log.created === mark.log && log.lastSequence >= mark.sequence) return;
  const found = log.created === mark.log ? `it ends at ${log.lastSequence} now` : `it was made anew at ${log.created}`;
  throw AppError.unavailable(
    "LOG_DAMAGED",
    `the log is not whole: it reached message ${mark.sequence}, and ${found}; acknowledged events are missing. Restore the ` +
      "store of MH_LOG from a copy, or go on with what is left by starting once with MH_ALLOW_DATA_LOSS=true",
  );
}

function parseMark(bytes: Uint8Array): Mark | undefined {
  try {
    const { sequence, log } = JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<Mark>; // checked here
    return typeof sequence === "number" && typeof log === "string" ? { sequence, log } : undefined;
  } catch {
    return undefined;
  }
}
