import { parseArgs } from "node:util";
import { type HandDriver, handDrivers } from "../hands-choice.ts";
import { SetupError } from "../setup-error.ts";

/** What `npm run demo` was asked to do. */
export interface DemoOptions {
  /** SIGKILL the harness and then the sandbox in mid-task. */
  readonly kill: boolean;
  /** An API that runs already, instead of this checkout's platform; its key comes with it. */
  readonly remote?: { readonly url: string; readonly apiKey: string };
  /** Address under which the platform reaches the demo's git server; it listens there too. */
  readonly gitHost: string;
  readonly hands?: HandDriver;
  readonly harness: number;
  readonly sandboxManager: number;
  /** Ends the demo when the job has not come to an end. */
  readonly timeoutMs: number;
}

/** Shown by `npm run demo -- --help`. */
export const demoHelp = `npm run demo [-- options]

Runs one real agent session: clone a repository, find and fix a bug, test, commit, push.
Uses the platform that runs in this checkout, or starts one and stops it afterwards.

  --kill                  SIGKILL the harness, then the sandbox, in mid-task
  --hands docker|virtual  hands to use when the demo starts the platform itself
  --harness N             number of harness processes when the demo starts the platform itself (default 1)
  --sandbox-manager N     number of sandbox-manager processes, likewise (default 1)
  --url URL --api-key K   run against an API that runs elsewhere, for instance docker compose
  --git-host ADDRESS      address at which that platform reaches this machine (default 127.0.0.1)
  --timeout SECONDS       give up after that long (default 240)
`;

/** Parses the arguments behind \`npm run demo --\`; throws a SetupError that names the wrong one. */
export function parseDemoOptions(args: readonly string[]): DemoOptions | "help" {
  const { values } = parseOrThrow(args);
  if (values.help) return "help";
  const { url, "api-key": apiKey, hands } = values;
  if ((url === undefined) !== (apiKey === undefined)) throw wrong("--url and --api-key go together");
  const driver = handDrivers.find((known) => known === hands);
  if (hands !== undefined && driver === undefined) throw wrong(`--hands is one of ${handDrivers.join(", ")}`);
  return {
    kill: values.kill,
    ...(url === undefined || apiKey === undefined ? {} : { remote: { url, apiKey } }),
    gitHost: values["git-host"],
    ...(driver === undefined ? {} : { hands: driver }),
    harness: wholeNumber("--harness", values.harness, 16),
    sandboxManager: wholeNumber("--sandbox-manager", values["sandbox-manager"], 16),
    timeoutMs: wholeNumber("--timeout", values.timeout, 3600) * 1000,
  };
}

function parseOrThrow(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        help: { type: "boolean", default: false, short: "h" },
        kill: { type: "boolean", default: false },
        url: { type: "string" },
        "api-key": { type: "string" },
        "git-host": { type: "string", default: "127.0.0.1" },
        hands: { type: "string" },
        harness: { type: "string", default: "1" },
        "sandbox-manager": { type: "string", default: "1" },
        timeout: { type: "string", default: "240" },
      },
    });
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) throw wrong(`${name} is a whole number from 1 to ${max}`);
  return value;
}

function wrong(problem: string): SetupError {
  return new SetupError(problem, { advice: "See: npm run demo -- --help" });
}
