import { parseArgs } from "node:util";
import { create } from "@bufbuild/protobuf";
import { createRpcClient } from "@manyhands/kit";
import {
  HarnessService,
  ReplayMode,
  type ReplayRequest,
  ReplaySessionRequestSchema,
  type ReplaySessionResponse,
} from "@manyhands/protocol";
import { readDevJson } from "../dev-json.ts";
import { checkoutPaths } from "../paths.ts";
import { SetupError } from "../setup-error.ts";

/** What a replay found; the object that `--json` prints. */
export interface ReplayReport {
  session: string;
  harness: string;
  mode: "recorded" | "shadow";
  /** True when nothing differs, or with `--decisions-only` no decision does. */
  same: boolean;
  decisions: number;
  decisions_different: number;
  requests_different: number;
  /** The first decision that differs in any way. */
  first_divergence: { position: number; recorded: string; tried: string; difference: string } | null;
  recorded: Totals;
  tried: Totals;
}

/** Sums over the model requests of one side; tokens are estimates. */
interface Totals {
  requests: number;
  input_tokens: number;
  cached_tokens: number;
  /** Share of input tokens that a prompt cache gives. */
  cache_hit_rate: number;
  /** Largest request. */
  max_context_tokens: number;
}

const deadlineMs = 600_000;

/** `npm run replay`: a session's log against another harness, usable as a gate: exit code 1 when it differs. */
export async function replay(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      harness: { type: "string", default: "default" },
      mode: { type: "string", default: "recorded" },
      set: { type: "string", multiple: true, default: [] },
      "decisions-only": { type: "boolean", default: false },
      address: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const [session = ""] = positionals;
  if (session === "") throw new SetupError("replay needs the id of a session", { advice: "See --help." });
  if (values.mode !== "recorded" && values.mode !== "shadow") {
    throw new SetupError("--mode must be recorded or shadow", { advice: "Correct it." });
  }
  const { mode } = values;
  const steps = await readSteps(addressOf(values.address), session, values.harness, mode, settingsOf(values.set));
  const report = reportOf(steps, { session, harness: values.harness, mode }, values["decisions-only"]);
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : tableOf(report));
  return report.same ? 0 : 1;
}

function addressOf(given: string | undefined): string {
  const address = given ?? process.env.MH_HARNESS_ADDR ?? readDevJson(checkoutPaths.devJson)?.grpc.harness;
  if (address !== undefined) return address;
  throw new SetupError("no platform is running here", { advice: "Run npm start, or name one by --address." });
}

function settingsOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new SetupError("--set must be KEY=VALUE", { advice: "Correct it." });
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

async function readSteps(
  address: string,
  sessionId: string,
  harness: string,
  mode: ReplayReport["mode"],
  settings: Record<string, string>,
): Promise<ReplaySessionResponse[]> {
  const client = createRpcClient(HarnessService, { address, defaultDeadlineMs: deadlineMs });
  const [kind = "", version = ""] = harness.split("@");
  const wireMode = mode === "shadow" ? ReplayMode.SHADOW : ReplayMode.RECORDED;
  const request = create(ReplaySessionRequestSchema, { sessionId, kind, version, mode: wireMode, settings });
  try {
    const steps: ReplaySessionResponse[] = [];
    for await (const step of client.replaySession(request)) steps.push(step);
    return steps;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SetupError(`the session cannot be replayed: ${why}`, { advice: "Check the session and the harness." });
  } finally {
    client.close();
  }
}

function reportOf(
  steps: readonly ReplaySessionResponse[],
  names: Pick<ReplayReport, "session" | "harness" | "mode">,
  decisionsOnly: boolean,
): ReplayReport {
  const different = steps.filter((step) => step.difference !== "");
  const decisions = different.filter((step) => step.recorded !== step.tried);
  const counted = decisionsOnly ? decisions : different;
  const [first] = counted;
  return {
    ...names,
    same: counted.length === 0,
    decisions: steps.length,
    decisions_different: decisions.length,
    requests_different: different.length - decisions.length,
    first_divergence:
      first === undefined
        ? null
        : {
            position: Number(first.position),
            recorded: first.recorded,
            tried: first.tried,
            difference: first.difference,
          },
    recorded: totalsOf(steps.map((step) => step.recordedRequest)),
    tried: totalsOf(steps.map((step) => step.triedRequest)),
  };
}

function totalsOf(requests: readonly (ReplayRequest | undefined)[]): Totals {
  const made = requests.filter((request) => request !== undefined);
  const input = made.map((request) => Number(request.inputTokens));
  const input_tokens = sum(input);
  const cached_tokens = sum(made.map((request) => Number(request.cachedTokens)));
  return {
    requests: made.length,
    input_tokens,
    cached_tokens,
    cache_hit_rate: input_tokens === 0 ? 0 : Math.round((cached_tokens / input_tokens) * 1000) / 1000,
    max_context_tokens: Math.max(0, ...input),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function tableOf(report: ReplayReport): string {
  const { first_divergence: first } = report;
  const line = (name: string, { requests, input_tokens, cache_hit_rate, max_context_tokens }: Totals) =>
    `${name.padEnd(10)} ${requests} requests, ${input_tokens} tokens, ${Math.round(cache_hit_rate * 100)} % cached, largest context ${max_context_tokens}`;
  const verdict =
    first === null
      ? `${report.decisions} decisions, the same`
      : `differs first at position ${first.position}: ${first.difference}`;
  return `${[`${report.session} by ${report.harness}: ${verdict}`, line("recorded", report.recorded), line("tried", report.tried)].join("\n")}\n`;
}
