import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { downloadDebPackage, findAptArchive } from "./apt-download.ts";
import { installBinary } from "./install-binary.ts";
import { downloadNatsRelease } from "./nats-release.ts";
import { toolsDir } from "./paths.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** The log reads many frames with one `multi_last` request, which 2.10 answers and 2.9 refuses. */
const OLDEST = [2, 10] as const;

/** A nats-server that can be started. */
export interface NatsServerBinary {
  readonly path: string;
  readonly version: string;
  /** How it was found, in words for people. */
  readonly source: string;
}

/** Where to look; tests narrow it. */
export interface NatsSearch {
  readonly env: NodeJS.ProcessEnv;
  readonly cached: string;
}

const defaultSearch = (): NatsSearch => ({ env: process.env, cached: join(toolsDir, "nats-server") });

/** What is already here: `NATS_SERVER_BIN`, PATH, then the checkout's own copy. Fetches nothing. */
export async function findNatsServer(search: NatsSearch = defaultSearch()): Promise<NatsServerBinary | undefined> {
  const named = search.env.NATS_SERVER_BIN;
  if (named !== undefined && named !== "") return requireUsable(named, "NATS_SERVER_BIN");
  const onPath = (search.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "nats-server"));
  for (const candidate of onPath) {
    const version = await versionOf(candidate);
    if (version !== undefined && isRecentEnough(version)) return { path: candidate, version, source: "found on PATH" };
  }
  const version = await versionOf(search.cached);
  if (version === undefined || !isRecentEnough(version)) return undefined;
  return { path: search.cached, version, source: "this checkout's own copy" };
}

/** Finds a nats-server of 2.10 or newer or fetches one into the checkout; nothing is installed on the machine. */
export async function ensureNatsServer(
  progress: Progress,
  search: NatsSearch = defaultSearch(),
): Promise<NatsServerBinary> {
  const found = await findNatsServer(search);
  if (found !== undefined) return found;
  const problems: string[] = [];
  for (const way of [fromPackageManager, fromRelease]) {
    try {
      const source = await way(search.cached, progress);
      const version = await versionOf(search.cached);
      if (version !== undefined && isRecentEnough(version)) return { path: search.cached, version, source };
      problems.push(`${source}: version ${version ?? "unknown"} is older than 2.10`);
    } catch (error) {
      problems.push(error instanceof SetupError ? `${error.message} ${error.details}`.trim() : messageOf(error));
    }
  }
  throw new SetupError("nats-server 2.10 or newer was not found and could not be fetched", {
    advice: `Install it (${installHint()}) or set NATS_SERVER_BIN to its path, then run the command again.`,
    details: problems.map((problem) => `- ${problem}`).join("\n"),
  });
}

/** Whether a version such as "2.15.1" can hold the log. */
export function isRecentEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

async function requireUsable(path: string, name: string): Promise<NatsServerBinary> {
  const version = await versionOf(path);
  if (version === undefined) {
    throw new SetupError(`${name}=${path} is not a nats-server that runs here`, {
      advice: `Correct or unset ${name}.`,
    });
  }
  if (!isRecentEnough(version)) {
    throw new SetupError(`${name}=${path} is nats-server ${version}; 2.10 or newer is needed`, {
      advice: `Correct or unset ${name}.`,
    });
  }
  return { path, version, source: `named by ${name}` };
}

async function versionOf(path: string): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const { code, output } = await runCommand({ command: path, args: ["--version"], timeoutMs: 5_000 });
  return code === 0 ? /v(\d+\.\d+\.\d+)/.exec(output)?.[1] : undefined;
}

async function fromPackageManager(into: string, progress: Progress): Promise<string> {
  const archive = findAptArchive();
  if (archive === undefined)
    throw new SetupError("no Debian or Ubuntu package archive is configured here", { advice: "" });
  const suites = archive.distribution === "ubuntu" ? ["devel", archive.codename] : ["sid", "testing"];
  const problems: string[] = [];
  for (const suite of suites) {
    progress(`fetching nats-server from ${archive.mirror} ${suite} (unpacked into the checkout, not installed)`);
    const work = mkdtempSync(join(tmpdir(), "manyhands-nats-"));
    try {
      await downloadDebPackage(archive, suite, "nats-server", work);
      installBinary(join(work, "usr", "sbin", "nats-server"), into);
      return `fetched from ${archive.distribution} ${suite}`;
    } catch (error) {
      problems.push(error instanceof SetupError ? `${error.message}: ${error.details}` : messageOf(error));
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  throw new SetupError("the package archive did not give a nats-server", { advice: "", details: problems.join("; ") });
}

async function fromRelease(into: string, progress: Progress): Promise<string> {
  progress("fetching the nats-server release from github.com");
  await downloadNatsRelease(into);
  return "downloaded release";
}

function installHint(): string {
  if (process.platform === "darwin") return "brew install nats-server";
  return "your package manager, or https://github.com/nats-io/nats-server/releases";
}
