import { existsSync } from "node:fs";
import { join } from "node:path";
import { findAptArchive } from "./apt-download.ts";
import { findBubblewrap } from "./bubblewrap.ts";
import { readDevJson } from "./dev-json.ts";
import { findDockerEngine } from "./docker-engine.ts";
import { findHandImage, handImage } from "./hand-image.ts";
import { chooseModel } from "./model-choice.ts";
import { findNatsServer } from "./nats-server.ts";
import { checkoutPaths, rootDir } from "./paths.ts";
import { runCommand } from "./run-command.ts";
import { messageOf } from "./setup-error.ts";

/** `npm start -- --check`: what was found and what is missing; changes and fetches nothing. */
export async function inspectMachine(): Promise<string> {
  const lines = await Promise.all([
    finding("node", Promise.resolve(`${process.version} at ${process.execPath}`)),
    finding(
      "platform",
      Promise.resolve(`${process.platform} ${process.arch}, ${process.getuid?.() === 0 ? "root" : "not root"}`),
    ),
    finding("nats-server", natsFinding()),
    finding("docker", dockerFinding()),
    finding("bubblewrap", bubblewrapFinding()),
    finding("compiler", compilerFinding()),
    finding("git", versionOf("git")),
    finding("packages", Promise.resolve(packagesFinding())),
    finding("model", Promise.resolve(modelFinding())),
    finding("running", Promise.resolve(runningFinding())),
  ]);
  return `${lines.join("\n")}\n`;
}

async function finding(name: string, text: Promise<string>): Promise<string> {
  return `  ${name.padEnd(12)} ${await text.catch((error: unknown) => `missing: ${messageOf(error)}`)}`;
}

async function natsFinding(): Promise<string> {
  const found = await findNatsServer();
  if (found !== undefined) return `${found.version} at ${found.path} (${found.source})`;
  return "missing: npm start will fetch it from the package archive or from github.com";
}

async function dockerFinding(): Promise<string> {
  const engine = await findDockerEngine();
  if (!engine.answers) return `missing: ${engine.reason}; hands will be bubblewrap's where it works, else virtual`;
  const image = await findHandImage(engine.docker);
  const about =
    image === undefined
      ? `${handImage} is not there yet; npm start will make it`
      : `${handImage} is there (from ${image.source})`;
  return `${engine.version} at ${engine.socket}; ${about}`;
}

async function bubblewrapFinding(): Promise<string> {
  const found = await findBubblewrap();
  return found.works ? `${found.version}; makes hands when no Docker Engine answers` : `missing: ${found.reason}`;
}

async function compilerFinding(): Promise<string> {
  for (const compiler of ["cc", "gcc", "clang"]) {
    const { code, output } = await runCommand({ command: compiler, args: ["--version"], timeoutMs: 5_000 });
    if (code === 0) return output.split("\n")[0] ?? compiler;
  }
  return "missing: docker and bubblewrap hands need a C compiler for their agent";
}

async function versionOf(command: string): Promise<string> {
  const { code, output } = await runCommand({ command, args: ["--version"], timeoutMs: 5_000 });
  return code === 0 ? (output.split("\n")[0] ?? command) : `missing: ${output.trim()}`;
}

function packagesFinding(): string {
  const archive = findAptArchive();
  const apt = archive === undefined ? "no Debian or Ubuntu archive" : `${archive.mirror} ${archive.codename}`;
  return `${existsSync(join(rootDir, "node_modules")) ? "installed" : "missing"}; package archive: ${apt}`;
}

function modelFinding(): string {
  const { kind, upstreamUrl, why } = chooseModel(process.env);
  return kind === "demo" ? `demo model (${why})` : `${upstreamUrl ?? ""} (${why})`;
}

function runningFinding(): string {
  const dev = readDevJson(checkoutPaths.devJson);
  return dev === undefined ? "no" : `${dev.gateway_url} (process ${dev.pid})`;
}
