import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const UPDATE_MS = 120_000;
const DOWNLOAD_MS = 120_000;

/** The distribution's own archive as this machine is configured to reach it. */
export interface AptArchive {
  readonly mirror: string;
  readonly codename: string;
  readonly distribution: "debian" | "ubuntu";
  readonly keyring: string;
}

/**
 * The archive this machine already trusts and reaches: the first mirror of its own sources, its own keyring.
 * Undefined where there is no apt, or where it is neither Debian nor Ubuntu.
 */
export function findAptArchive(etc = "/etc"): AptArchive | undefined {
  const release = readIfThere(join(etc, "os-release"));
  const id = /^ID="?(debian|ubuntu)"?$/m.exec(release)?.[1];
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(release)?.[1];
  if (id === undefined || codename === undefined || !existsSync("/usr/bin/apt-get")) return undefined;
  const distribution = id === "ubuntu" ? "ubuntu" : "debian";
  const keyring = `/usr/share/keyrings/${distribution}-archive-keyring.gpg`;
  const mirror = aptSources(etc)
    .map(firstMirror)
    .find((found) => found !== undefined);
  return mirror === undefined || !existsSync(keyring) ? undefined : { mirror, codename, distribution, keyring };
}

/** The first archive mirror named by a sources file of either format; security-only and third-party lines do not count. */
export function firstMirror(sources: string): string | undefined {
  const uris = [
    ...[...sources.matchAll(/^deb\s+(?:\[[^\]]*\]\s+)?(\S+)/gm)].map((match) => match[1]),
    ...[...sources.matchAll(/^URIs:\s*(\S+)/gm)].map((match) => match[1]),
  ];
  return uris.find((uri) => uri !== undefined && /\/(debian|ubuntu|ubuntu-ports)\/?$/.test(uri));
}

/**
 * Fetches one package of `suite` and unpacks it into `into`, through a private apt state: nothing is
 * installed, no file of the system changes, no root is needed. Throws a SetupError with apt's own words.
 */
export async function downloadDebPackage(
  archive: AptArchive,
  suite: string,
  name: string,
  into: string,
): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "manyhands-apt-"));
  try {
    const env = { ...process.env, APT_CONFIG: writeAptConfig(work, archive, suite), LC_ALL: "C" };
    await step("apt-get", ["update"], UPDATE_MS, work, env);
    await step("apt-get", ["download", name], DOWNLOAD_MS, work, env);
    const deb = readdirSync(work).find((file) => file.endsWith(".deb"));
    if (deb === undefined) throw failure(`apt-get download ${name}`, "no package file appeared");
    mkdirSync(into, { recursive: true });
    await step("dpkg", ["-x", join(work, deb), into], DOWNLOAD_MS, work, env);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A configuration file rather than options: apt applies it first, so the proxy settings of the machine still hold. */
function writeAptConfig(work: string, archive: AptArchive, suite: string): string {
  for (const folder of ["lists/partial", "archives/partial", "empty"])
    mkdirSync(join(work, folder), { recursive: true });
  const components = archive.distribution === "ubuntu" ? "main universe" : "main";
  writeFileSync(
    join(work, "sources.list"),
    `deb [signed-by=${archive.keyring}] ${archive.mirror} ${suite} ${components}\n`,
  );
  writeFileSync(join(work, "status"), "");
  const config = [
    `Dir::Etc::SourceList "${join(work, "sources.list")}";`,
    `Dir::Etc::SourceParts "${join(work, "empty")}";`,
    `Dir::Etc::Preferences "/dev/null";`,
    `Dir::Etc::PreferencesParts "${join(work, "empty")}";`,
    `Dir::State "${work}";`,
    `Dir::State::Lists "${join(work, "lists")}";`,
    `Dir::State::status "${join(work, "status")}";`,
    `Dir::Cache "${work}";`,
    `Dir::Cache::Archives "${join(work, "archives")}";`,
    `APT::Sandbox::User "";`,
    `Acquire::Languages "none";`,
    `Acquire::Retries "2";`,
    `Acquire::http::Timeout "30";`,
  ];
  const file = join(work, "apt.conf");
  writeFileSync(file, `${config.join("\n")}\n`);
  return file;
}

async function step(command: string, args: string[], timeoutMs: number, cwd: string, env: NodeJS.ProcessEnv) {
  const { code, output } = await runCommand({ command, args, timeoutMs, cwd, env });
  if (code !== 0) throw failure(`${command} ${args.join(" ")}`, output);
}

function failure(what: string, output: string): SetupError {
  return new SetupError(`${what} failed`, {
    advice: "Check that this machine reaches its package mirror.",
    details: lastLines(output, 8),
  });
}

function aptSources(etc: string): string[] {
  const parts = join(etc, "apt", "sources.list.d");
  const inParts = existsSync(parts) ? readdirSync(parts).filter((file) => /\.(list|sources)$/.test(file)) : [];
  return [join(etc, "apt", "sources.list"), ...inParts.map((file) => join(parts, file))].map(readIfThere);
}

function readIfThere(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}
