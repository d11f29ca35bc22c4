import { parseArgs } from "node:util";
import { connectBus, diffStreams, type StreamName, type StreamPlan, streamTable, updateStreams } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { SetupError } from "../setup-error.ts";

const names = streamTable.map((row) => row.name);

/**
 * `npm run streams -- diff|apply`: where the streams of a NATS server differ from what the code declares, and making them
 * as declared. Exit code 1 of `diff`: something differs.
 */
export async function streams(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      nats: { type: "string", default: process.env.MH_NATS_URL ?? "nats://127.0.0.1:4222" },
      replicas: { type: "string", default: process.env.MH_NATS_REPLICAS ?? "1" },
    },
  });
  const [action] = positionals;
  if (action !== "diff" && action !== "apply")
    throw new SetupError("streams needs to know what to do", { advice: "Say diff or apply; see --help." });
  const replicas = Number(values.replicas);
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > 5)
    throw new SetupError("--replicas must be a whole number from 1 to 5", { advice: "Correct it." });
  const user = process.env.MH_NATS_USER;
  const bus = await connectBus({
    url: values.nats,
    name: "manyhands streams",
    logger: silentLogger(),
    ...(user === undefined ? {} : { credentials: { user, password: process.env.MH_NATS_PASSWORD ?? "" } }),
  });
  try {
    const options = { replicas, streams: names.filter(isStreamName) };
    const plans = action === "diff" ? await diffStreams(bus, options) : await updateStreams(bus, options);
    const differs = plans.some((plan) => plan.state !== "asDeclared");
    process.stdout.write(
      values.json ? `${JSON.stringify({ action, replicas, differs, streams: plans })}\n` : table(action, plans),
    );
    return action === "diff" && differs ? 1 : 0;
  } finally {
    await bus.close();
  }
}

function isStreamName(name: string): name is StreamName {
  return names.includes(name);
}

function table(action: "diff" | "apply", plans: readonly StreamPlan[]): string {
  const words = {
    asDeclared: "as declared",
    missing: action === "diff" ? "missing" : "created",
    differs: action === "diff" ? "differs" : "changed",
  };
  const lines = plans.flatMap((plan) => [
    `${plan.stream.padEnd(24)} ${words[plan.state]}`,
    ...(plan.state === "differs" ? plan.differences.map((difference) => `  ${difference}`) : []),
  ]);
  return `${lines.join("\n")}\n`;
}
