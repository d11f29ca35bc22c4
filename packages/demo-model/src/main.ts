import { renameSync, writeFileSync } from "node:fs";
import { createDemoModel, type DemoModel } from "./server.ts";

/** Time running answers get after SIGTERM, in milliseconds. */
const DRAIN_MS = 5_000;

const log = {
  info: (fields: object, message: string) =>
    console.log(JSON.stringify({ level: "info", service: "demo-model", ...fields, message })),
  warn: (fields: object, message: string) =>
    console.error(JSON.stringify({ level: "warn", service: "demo-model", ...fields, message })),
};

try {
  const { MH_DEMO_MODEL_LISTEN, MH_DEMO_MODEL_SCENARIOS, MH_DEMO_MODEL_KEY, MH_READY_FILE } = process.env;
  const model = await createDemoModel({
    listen: MH_DEMO_MODEL_LISTEN ?? "127.0.0.1:0",
    log,
    ...(MH_DEMO_MODEL_SCENARIOS ? { scenarioDir: MH_DEMO_MODEL_SCENARIOS } : {}),
    ...(MH_DEMO_MODEL_KEY ? { requiredKey: MH_DEMO_MODEL_KEY } : {}),
  });
  stopOnSignal(model);
  if (MH_READY_FILE) writeReadyFile(MH_READY_FILE, model.address);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

/** Written whole or not at all: whoever waits for the file never reads half of it. */
function writeReadyFile(path: string, address: string): void {
  const ready = { service: "demo-model", pid: process.pid, addresses: { http: address } };
  writeFileSync(`${path}.${process.pid}.tmp`, JSON.stringify(ready));
  renameSync(`${path}.${process.pid}.tmp`, path);
}

/** The first signal drains, a second one ends at once. */
function stopOnSignal(model: DemoModel): void {
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    void model.close(DRAIN_MS).then(() => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}
