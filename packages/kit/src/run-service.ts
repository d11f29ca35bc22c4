import { renameSync, writeFileSync } from "node:fs";
import { ConfigDescription, ConfigError, describeOnly, type Env, formatVariables } from "./env.ts";
import { createLogger, type Logger } from "./logger.ts";
import { redactText, redactValue } from "./redact.ts";
import { type ServiceConfig, type ServiceParts, startService } from "./service.ts";

/** The parts of a service and how to read its config. `readConfig` is pure: it gets the environment and may throw ConfigError. */
export type ServiceDefinition<
  Config extends { readonly service: ServiceConfig },
  Deps,
  Overrides = Partial<Deps>,
> = ServiceParts<Config, Deps, Overrides> & { readConfig(env: Env): Config };

/** Exit codes: 0 clean stop, 1 failure or an unclean stop, 2 bad configuration. */
const EXIT = { ok: 0, failed: 1, config: 2 } as const;

/**
 * The whole of a service's `main.ts`. Reads the config (`--help` prints its variables; a bad one prints all problems
 * and exits 2), logs "starting" with the redacted config, starts, logs "ready" with the addresses, writes them to
 * `MH_READY_FILE` when that is set, and stops in order on SIGTERM or SIGINT; a second signal exits at once. An
 * unhandled rejection or exception is logged and ends the process with 1.
 */
export async function runService<Config extends { readonly service: ServiceConfig }, Deps, Overrides = Partial<Deps>>(
  name: string,
  definition: ServiceDefinition<Config, Deps, Overrides>,
): Promise<void> {
  if (process.argv.includes("--help") || process.argv.includes("-h")) {
    process.stdout.write(describe(name, definition));
    return;
  }
  const config = readConfigOrExit(name, definition);
  const { logLevel, instanceId } = config.service;
  const logger = createLogger({ service: name, level: logLevel, fields: { instance: instanceId } });
  logger.info({ config: redactValue(config), pid: process.pid, node: process.version }, "starting");
  dieOnBugs(logger);

  let stop: ((signal: string) => void) | undefined;
  let signalled: string | undefined;
  const onSignal = (signal: string) => {
    if (signalled) {
      logger.warn({ signal }, "second signal: exiting at once");
      process.exit(EXIT.failed);
    }
    signalled = signal;
    stop?.(signal);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);

  try {
    const running = await startService(name, definition, config, { logger, processMetrics: true });
    stop = (signal) => {
      void running.stop(signal).then((report) => process.exit(report.failed.length === 0 ? EXIT.ok : EXIT.failed));
    };
    writeReadyFile(process.env.MH_READY_FILE, name, running.addresses);
    logger.info({ ...running.addresses }, "ready");
    if (signalled) {
      stop(signalled);
    }
  } catch (error) {
    if (error instanceof ConfigError) {
      exitForConfig(name, error);
    }
    logger.fatal({ err: error }, "cannot start");
    logger.flush();
    process.exit(EXIT.failed);
  }
}

function readConfigOrExit<Config>(name: string, definition: { readConfig(env: Env): Config }): Config {
  try {
    return definition.readConfig(process.env);
  } catch (error) {
    if (error instanceof ConfigError) {
      exitForConfig(name, error);
    }
    throw error;
  }
}

/** Also for settings that only turn out bad when a dependency opens what they name. */
function exitForConfig(name: string, error: ConfigError): never {
  process.stderr.write(`${name}: ${redactText(error.message)}\nSee ${name} --help for all settings.\n`);
  process.exit(EXIT.config);
}

function describe(name: string, definition: { readConfig(env: Env): unknown }): string {
  try {
    definition.readConfig(describeOnly());
  } catch (error) {
    if (error instanceof ConfigDescription) {
      return `${name}: settings by environment variable\n\n${formatVariables(error.variables)}\n`;
    }
    throw error;
  }
  return `${name}: no settings\n`;
}

/** Written beside and renamed, so that a reader never sees half a file. */
function writeReadyFile(path: string | undefined, service: string, addresses: Readonly<Record<string, string>>): void {
  if (path) {
    const beside = `${path}.${process.pid}.tmp`;
    writeFileSync(beside, `${JSON.stringify({ service, pid: process.pid, addresses })}\n`, { mode: 0o600 });
    renameSync(beside, path);
  }
}

function dieOnBugs(logger: Logger): void {
  const die = (origin: string) => (error: unknown) => {
    logger.fatal({ err: error, origin }, "a bug ended the process");
    logger.flush();
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", die("uncaughtException"));
  process.on("unhandledRejection", die("unhandledRejection"));
}
