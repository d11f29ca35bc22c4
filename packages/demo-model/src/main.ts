import { renameSync, writeFileSync } from "node:fs";
import { ConfigError, createLifecycle, createLogger, type Lifecycle } from "@manyhands/kit";
import { type Config, readConfig } from "./config.ts";
import { ScenarioError } from "./load-scenarios.ts";
import { createDemoModel } from "./server.ts";

/** Exit codes: 0 clean stop, 1 failure or an unclean stop, 2 bad configuration or scenarios. */
const EXIT = { ok: 0, failed: 1, config: 2 } as const;

try {
  await run(readConfig(process.env));
} catch (error) {
  process.stderr.write(`demo-model: ${error instanceof Error ? error.message : String(error)}\n`);
  const isSettings = error instanceof ConfigError || error instanceof ScenarioError;
  process.exitCode = isSettings ? EXIT.config : EXIT.failed;
}

async function run(config: Config): Promise<void> {
  const logger = createLogger({ service: "demo-model", level: config.logLevel });
  const model = await createDemoModel({
    listen: config.listen,
    log: logger,
    ...(config.scenarioDir === undefined ? {} : { scenarioDir: config.scenarioDir }),
    ...(config.tokensPerSecond === 0 ? {} : { tokensPerSecond: config.tokensPerSecond }),
    ...(config.requiredKey === undefined ? {} : { requiredKey: config.requiredKey.reveal() }),
  });
  const lifecycle = createLifecycle({ logger, drainMs: config.drainMs });
  // The server drops what is still running by itself; the rest of the deadline is for that.
  const deadlineMs = config.drainMs + 1_000;
  lifecycle.onStop("http server", () => model.close(config.drainMs), { phase: "drain", deadlineMs });
  stopOnSignals(lifecycle);
  lifecycle.setReady(true);
  if (config.readyFile !== undefined) writeReadyFile(config.readyFile, model.address);
}

/** Written beside and renamed, so that a reader never sees half a file. */
function writeReadyFile(path: string, http: string): void {
  const beside = `${path}.${process.pid}.tmp`;
  writeFileSync(beside, `${JSON.stringify({ service: "demo-model", pid: process.pid, addresses: { http } })}\n`);
  renameSync(beside, path);
}

/** The first signal drains, a second one ends at once. */
function stopOnSignals(lifecycle: Lifecycle): void {
  let isStopping = false;
  const onSignal = (signal: string): void => {
    if (isStopping) process.exit(EXIT.failed);
    isStopping = true;
    void lifecycle.stop(signal).then(({ failed }) => process.exit(failed.length === 0 ? EXIT.ok : EXIT.failed));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
