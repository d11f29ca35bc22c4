import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bubblewrapForTests } from "../bubblewrap.ts";
import { allChecks, type Check } from "../checks.ts";
import { ensureComposeImages } from "../compose-images.ts";
import { type EngineForTests, engineForTests } from "../docker-install.ts";
import { ensureHandAgent } from "../hand-agent.ts";
import { ensureHandImage } from "../hand-image.ts";
import { ensureNatsServer } from "../nats-server.ts";
import { checkoutPaths } from "../paths.ts";
import { stderrProgress as progress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";
import { onStopSignal } from "../stop-signal.ts";
import { addCounts, type Counts, noCounts, summary } from "../test-counts.ts";
import { runVitest } from "../vitest-run.ts";

const parts = ["checks", "unit", "int", "e2e"] as const;
type Part = (typeof parts)[number];

/** `npm test`: sets everything up, as root with apt bubblewrap and a Docker Engine too where missing, then verifies. */
export function test(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  return run(options, !options.noInstall);
}

/** `npm run verify`: the same checks and tests on the machine as it is. */
export function verify(args: readonly string[]): Promise<number> {
  return run(readOptions(args), false);
}

interface TestOptions {
  readonly only: readonly Part[];
  readonly noInstall: boolean;
  readonly filters: readonly string[];
}

function readOptions(args: readonly string[]): TestOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { only: { type: "string", multiple: true }, "no-install": { type: "boolean", default: false } },
  });
  const asked = values.only ?? [...parts];
  const only = parts.filter((part) => asked.includes(part));
  const unknown = asked.find((part) => !parts.some((known) => known === part));
  if (unknown !== undefined) {
    throw new SetupError(`--only must be one of ${parts.join(", ")}, not "${unknown}"`, { advice: "Correct it." });
  }
  return { only, noInstall: values["no-install"], filters: positionals };
}

async function run(options: TestOptions, mayInstall: boolean): Promise<number> {
  const nats = await ensureNatsServer(progress);
  const engine = options.only.some(needsHands) ? await engineFor(mayInstall) : undefined;
  // A stop signal must not leave behind the daemon this run started.
  onStopSignal((signal) => {
    progress(`${signal}: stopping`);
    void Promise.resolve(engine?.stop()).finally(() => process.exit(130));
  });
  try {
    // On a new machine each image takes a minute, in which the parts that need none run.
    const hands = engine && handEnv(engine);
    const composed = engine && hands?.then(() => composeImages(options, engine));
    for (const made of [hands, composed]) made?.catch(() => undefined); // told by the part that waits for it
    const counts = await runParts(options, async (part) => {
      if (part === "e2e") await composed;
      return { NATS_SERVER_BIN: nats.path, ...(needsHands(part) ? await hands : {}) };
    });
    process.stdout.write(summary(counts));
    return counts.failed === 0 ? 0 : 1;
  } finally {
    await engine?.stop();
  }
}

function needsHands(part: Part): boolean {
  return part === "int" || part === "e2e";
}

async function engineFor(mayInstall: boolean): Promise<EngineForTests> {
  await bubblewrapForTests(mayInstall, progress);
  return engineForTests(mayInstall, progress);
}

/** What tests of Docker hands find ready: never built inside a test's own time limit. */
async function handEnv({ engine }: EngineForTests): Promise<NodeJS.ProcessEnv> {
  const image = await ensureHandImage(engine.docker, progress);
  const agent = await ensureHandAgent();
  return {
    DOCKER_HOST: `unix://${engine.socket}`,
    MH_HAND_IMAGE: image.image,
    MH_HAND_AGENT: agent,
    TESTCONTAINERS_RYUK_DISABLED: "true",
  };
}

/** What the tests of docker compose build on, when all of them were asked for. */
async function composeImages({ only, filters }: TestOptions, { engine }: EngineForTests): Promise<void> {
  if (only.includes("e2e") && filters.length === 0) await ensureComposeImages(engine.docker, progress);
}

async function runParts(options: TestOptions, envOf: (part: Part) => Promise<NodeJS.ProcessEnv>): Promise<Counts> {
  let counts = noCounts;
  mkdirSync(checkoutPaths.run, { recursive: true });
  for (const part of options.only) {
    const env = await envOf(part);
    progress(part === "checks" ? "checks" : `tests: ${part}`);
    const result =
      part === "checks"
        ? await runChecks(await allChecks())
        : await runVitest(part, options.filters, env, join(checkoutPaths.run, `vitest-${part}.json`));
    counts = addCounts(counts, result);
  }
  return counts;
}

async function runChecks(checks: readonly Check[]): Promise<Counts> {
  let counts = noCounts;
  for (const { name, run: runCheck } of checks) {
    const problem = await runCheck();
    process.stdout.write(`  ${problem === undefined ? "ok    " : "FAILED"} ${name}\n`);
    const failures = problem === undefined ? [] : [{ name, message: problem }];
    counts = addCounts(counts, { ...noCounts, passed: 1 - failures.length, failed: failures.length, failures });
  }
  return counts;
}
