import { readDevJson } from "../dev-json.ts";
import type { HandDriver } from "../hands-choice.ts";
import { checkoutPaths } from "../paths.ts";
import { type Platform, startPlatform } from "../platform.ts";
import { stderrProgress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";
import type { DemoOptions } from "./options.ts";

/** The platform that the demo runs on. */
export interface DemoTarget {
  readonly url: string;
  readonly apiKey: string;
  /** What the session's hands will be. */
  readonly hands: HandDriver;
  /** Where its bubblewrap hands live; empty with other drivers. */
  readonly handsDir: string;
  /** One line for people. */
  readonly description: string;
  /** SIGKILLs every harness process; undefined when this demo does not own them. */
  readonly killHarness?: () => void;
  /** SIGKILLs the sandbox-managers, which is how hands without a container of their own die. */
  readonly killManagers?: () => void;
  /** Stops what the demo started, and nothing else. */
  readonly stop: () => Promise<void>;
}

const nothingToStop = () => Promise.resolve();

/** An API elsewhere, the platform of this checkout when it runs, or a new one. */
export async function findTarget(options: DemoOptions): Promise<DemoTarget> {
  if (options.remote !== undefined) return remoteTarget(options.remote);
  const running = readDevJson(checkoutPaths.devJson);
  if (running !== undefined && !options.kill && options.hands === undefined) {
    const { gateway_url: url, api_key: apiKey, hands, hands_dir: handsDir, model } = running;
    const description = `the platform of this checkout (hands: ${hands}, model: ${model})`;
    return { url, apiKey, hands, handsDir, description, stop: nothingToStop };
  }
  return startedTarget(options);
}

function remoteTarget(remote: NonNullable<DemoOptions["remote"]>): DemoTarget {
  return { ...remote, hands: "docker", handsDir: "", description: `the API at ${remote.url}`, stop: nothingToStop };
}

async function startedTarget(options: DemoOptions): Promise<DemoTarget> {
  const platform = await startPlatform({
    harness: options.harness,
    sandboxManager: options.sandboxManager,
    ...(options.hands === undefined ? {} : { handDriver: options.hands }),
    progress: stderrProgress,
  });
  const { gateway_url: url, api_key: apiKey, hands, hands_dir: handsDir, model } = platform.devJson;
  const counts = `${options.harness} harness, ${options.sandboxManager} sandbox-manager`;
  return {
    url,
    apiKey,
    hands,
    handsDir,
    description: `a platform of its own (hands: ${hands}, model: ${model}, ${counts})`,
    killHarness: () => killAll(platform, "harness"),
    killManagers: () => killAll(platform, "sandbox-manager"),
    stop: () => platform.stop(),
  };
}

function killAll(platform: Platform, service: "harness" | "sandbox-manager"): void {
  const running = platform.processes().filter((process) => process.service === service);
  if (running.length === 0) throw new SetupError(`no ${service} is running`, { advice: "" });
  for (const { index } of running) platform.kill(service, index, "SIGKILL");
}
