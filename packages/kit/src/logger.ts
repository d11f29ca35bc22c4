import { type DestinationStream, type Logger as PinoLogger, pino } from "pino";
import { redactText, redactValue } from "./redact.ts";

/** Levels from silent to everything. */
export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
/** One of `LOG_LEVELS`. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One level's method: fields first (ids as fields, errors as `err`), then a short fixed message. */
export type LogMethod = {
  (fields: object, message?: string): void;
  (message: string): void;
};

/** A structured logger: one JSON object a line. Every value passes redaction before it is written. */
export type Logger = {
  readonly fatal: LogMethod;
  readonly error: LogMethod;
  readonly warn: LogMethod;
  readonly info: LogMethod;
  readonly debug: LogMethod;
  readonly trace: LogMethod;
  /**
   * A logger that adds fields to each line; one per subsystem or request. It costs nothing until something is logged:
   * only then are the fields read, so they must not change.
   */
  child(fields: object): Logger;
  /** Waits until what was logged has been handed to the destination. */
  flush(): void;
};

/** Options of `createLogger`. */
export type LoggerOptions = {
  readonly service: string;
  readonly level?: LogLevel;
  /** Where lines go; default standard output, synchronously, so that the last words of a dying process are kept. */
  readonly destination?: DestinationStream;
  /** More fields on each line, for example the instance id. */
  readonly fields?: object;
};

/** A redacting pino logger. */
export function createLogger(options: LoggerOptions): Logger {
  const destination = options.destination ?? pino.destination({ fd: 1, sync: true });
  const base: Pino = pino(
    {
      level: options.level ?? "info",
      base: null,
      // Errors arrive here as plain redacted data; pino's own serializer would flatten the chain of causes.
      serializers: { err: (error: unknown) => error },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  ).child({ service: options.service });
  return wrap(options.fields ? base.child(clean(options.fields)) : base);
}

/** A logger that writes nothing; the default in tests. */
export function silentLogger(): Logger {
  return createLogger({ service: "silent", level: "silent" });
}

type Pino = PinoLogger;
type Level = Exclude<LogLevel, "silent">;

const LEVELS: readonly Level[] = ["fatal", "error", "warn", "info", "debug", "trace"];

/** Redaction happens here and not in pino's own `redact`, which knows paths but not shapes, causes or wrappers. */
function wrap(pino: Pino): Logger {
  const enabled = new Set(LEVELS.filter((level) => pino.isLevelEnabled(level)));
  return loggerOf(enabled, () => pino);
}

/** Levels never change after the start, so children share them and need no pino of their own until they log. */
function loggerOf(enabled: ReadonlySet<Level>, open: () => Pino): Logger {
  let opened: Pino | undefined;
  const inner = () => {
    opened ??= open();
    return opened;
  };
  const at = (level: Level): LogMethod => {
    return (first: object | string, message?: string) => {
      if (!enabled.has(level)) {
        return;
      }
      if (typeof first === "string") {
        inner()[level](redactText(first));
      } else {
        inner()[level](clean(first), message === undefined ? undefined : redactText(message));
      }
    };
  };
  return {
    fatal: at("fatal"),
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    trace: at("trace"),
    child: (fields) => loggerOf(enabled, () => inner().child(clean(fields))),
    flush: () => inner().flush(),
  };
}

function clean(fields: object): Record<string, unknown> {
  const safe = redactValue(fields instanceof Error ? { err: fields } : fields);
  return typeof safe === "object" && safe !== null ? { ...safe } : { value: safe };
}
