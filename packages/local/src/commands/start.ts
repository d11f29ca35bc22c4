import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readDevJson } from "../dev-json.ts";
import { inspectMachine } from "../doctor.ts";
import { type HandDriver, handDrivers } from "../hands-choice.ts";
import { checkoutPaths } from "../paths.ts";
import { AlreadyRunning, startPlatform } from "../platform.ts";
import { stderrProgress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";
import { startBlock } from "../start-block.ts";
import { onStopSignal } from "../stop-signal.ts";

/** `npm start`: brings the platform up, shows where it is, and stays until a signal; then drains and ends it. */
export async function start(args: readonly string[]): Promise<number> {
  const options = readOptions(args, process.env);
  if (options.check) {
    process.stdout.write(await inspectMachine());
    return 0;
  }
  const paths = checkoutPaths;
  const dataDir = options.ephemeral ? mkdtempSync(join(tmpdir(), "manyhands-data-")) : paths.data;
  const stopping = new AbortController();
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener("abort", () => resolve()));
  onStopSignal((signal) => {
    stderrProgress(`${signal}: draining and stopping`);
    stopping.abort();
  });
  try {
    const { harness, sandboxManager, handDriver } = options;
    const platform = await startPlatform({
      stateDir: paths.state,
      dataDir,
      harness,
      sandboxManager,
      progress: stderrProgress,
      signal: stopping.signal,
      ...(handDriver === undefined ? {} : { handDriver }),
    });
    process.stdout.write(startBlock(platform.devJson, !options.ephemeral));
    await stopped;
    await platform.stop();
    stderrProgress("stopped");
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) return 0;
    if (error instanceof AlreadyRunning) return showRunning(error);
    throw error;
  } finally {
    if (options.ephemeral) rmSync(dataDir, { recursive: true, force: true });
  }
}

function showRunning(error: AlreadyRunning): number {
  const dev = readDevJson(checkoutPaths.devJson);
  if (dev === undefined) throw error;
  stderrProgress(`${error.message}; this is it:`);
  process.stdout.write(startBlock(dev, true));
  return 0;
}

interface StartOptions {
  readonly check: boolean;
  readonly ephemeral: boolean;
  readonly harness: number;
  readonly sandboxManager: number;
  readonly handDriver: HandDriver | undefined;
}

/** Options of the command line, then of the environment, then the defaults. */
export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): StartOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      check: { type: "boolean", default: false },
      ephemeral: { type: "boolean", default: false },
      harness: { type: "string", default: env.MH_HARNESS_REPLICAS ?? "1" },
      "sandbox-manager": { type: "string", default: env.MH_SANDBOX_MANAGER_REPLICAS ?? "1" },
      hands: { type: "string", default: env.MH_HAND_DRIVER ?? "" },
    },
  });
  const driver = handDrivers.find((known) => known === values.hands);
  if (driver === undefined && values.hands !== "") {
    throw new SetupError(`--hands must be one of ${handDrivers.join(", ")}, not "${values.hands}"`, {
      advice: "Correct it.",
    });
  }
  return {
    check: values.check,
    ephemeral: values.ephemeral,
    harness: Number(values.harness),
    sandboxManager: Number(values["sandbox-manager"]),
    handDriver: driver,
  };
}
