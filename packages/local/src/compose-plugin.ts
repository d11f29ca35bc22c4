import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadDebPackage, findAptArchive } from "./apt-download.ts";
import { installBinary } from "./install-binary.ts";
import { toolsDir } from "./paths.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** `up --wait` with services that run to their end, and `--scale` beside it, work from 2.20 on. */
const OLDEST = [2, 20] as const;
const VERSION_MS = 10_000;
const PLUGIN_PATHS = ["usr/libexec/docker/cli-plugins/docker-compose", "usr/bin/docker-compose"];

/** Docker Compose as a command to put arguments behind. */
export interface ComposeCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly version: string;
  /** How it was found, in words for people. */
  readonly source: string;
}

/** `docker compose` where it works, else this checkout's own copy of the plugin, which also runs alone. Fetches nothing. */
export async function findCompose(cached = join(toolsDir, "docker-compose")): Promise<ComposeCommand | undefined> {
  const candidates = [
    { command: "docker", args: ["compose"], source: "docker compose" },
    { command: cached, args: [], source: "this checkout's own copy" },
  ];
  for (const candidate of candidates) {
    const version = await versionOf(candidate);
    if (version !== undefined && isComposeRecentEnough(version)) return { ...candidate, version };
  }
  return undefined;
}

/**
 * Finds Docker Compose 2.20 or newer, or unpacks Debian's package of it into the checkout; nothing is installed on
 * the machine. Throws a SetupError that says what to do.
 */
export async function ensureCompose(
  progress: Progress,
  cached = join(toolsDir, "docker-compose"),
): Promise<ComposeCommand> {
  const found = await findCompose(cached);
  if (found !== undefined) return found;
  const problems: string[] = [];
  const archive = findAptArchive();
  const suites = archive?.distribution === "debian" ? ["sid", "testing"] : ["devel"];
  for (const suite of archive === undefined ? [] : suites) {
    progress(`fetching docker-compose from ${archive?.mirror} ${suite} (unpacked into the checkout, not installed)`);
    try {
      if (archive !== undefined) await fetchPlugin(archive, suite, cached);
      const fetched = await findCompose(cached);
      if (fetched !== undefined) return fetched;
      problems.push(`${suite}: what it gave does not run here`);
    } catch (error) {
      problems.push(`${suite}: ${messageOf(error)} ${error instanceof SetupError ? error.details : ""}`.trim());
    }
  }
  throw new SetupError("Docker Compose 2.20 or newer was not found and could not be fetched", {
    advice: "Install the Compose plugin (https://docs.docker.com/compose/install/), then run the command again.",
    details: problems.map((problem) => `- ${problem}`).join("\n"),
  });
}

/** Whether a version such as "2.40.3-3" can bring our file up. */
export function isComposeRecentEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

async function versionOf({ command, args }: Pick<ComposeCommand, "command" | "args">): Promise<string | undefined> {
  const asked = await runCommand({ command, args: [...args, "version", "--short"], timeoutMs: VERSION_MS });
  return asked.code === 0 ? /^v?(\d+\.\d+\.\d+\S*)/m.exec(asked.output)?.[1] : undefined;
}

async function fetchPlugin(archive: Parameters<typeof downloadDebPackage>[0], suite: string, into: string) {
  const work = mkdtempSync(join(tmpdir(), "manyhands-compose-"));
  try {
    await downloadDebPackage(archive, suite, "docker-compose", work);
    const plugin = PLUGIN_PATHS.map((path) => join(work, path)).find((path) => existsSync(path));
    if (plugin === undefined) throw new SetupError("the docker-compose package has another layout", { advice: "" });
    installBinary(plugin, into);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
