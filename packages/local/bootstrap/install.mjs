import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "./run-tool.mjs";

const PNPM = "12.21.0";
const STEP_MS = 600_000;
const NETWORK_ADVICE =
  "Usually the npm registry is out of reach (npm config get registry). Otherwise the output above says why.";

/** The exact files a fresh install depends on, hashed; any change means: install again. */
export function installStamp(root) {
  const hash = createHash("sha256").update(`pnpm ${PNPM} ${process.platform} ${process.arch}\n`);
  for (const file of manifests(root)) hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

export const nodeBinary = (root) => join(root, "node_modules", "node", "bin", "node");

export function isInstalled(root, stampFile, stamp) {
  return existsSync(nodeBinary(root)) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp;
}

/** pnpm of the pinned version inside the checkout (corepack may be missing), then the frozen lock file. */
export async function install(root, stateDir, stampFile, stamp, progress) {
  const logFile = join(stateDir, "logs", "setup.log");
  const pnpm = await ensurePnpm(root, stateDir, logFile, progress);
  progress("installing packages (pnpm install --frozen-lockfile)");
  await runTool({
    step: "Installing the packages",
    advice: NETWORK_ADVICE,
    command: pnpm,
    args: ["install", "--frozen-lockfile", "--reporter=append-only"],
    cwd: root,
    env: { ...process.env, CI: "true" },
    logFile,
    timeoutMs: STEP_MS,
  });
  writeFileSync(`${stampFile}.new`, stamp);
  renameSync(`${stampFile}.new`, stampFile);
}

async function ensurePnpm(root, stateDir, logFile, progress) {
  const home = join(stateDir, "tools", "pnpm");
  const binary = join(home, "node_modules", ".bin", "pnpm");
  const versionFile = join(home, "version");
  if (existsSync(binary) && existsSync(versionFile) && readFileSync(versionFile, "utf8") === PNPM) return binary;
  progress(`fetching pnpm ${PNPM}`);
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  await runTool({
    step: `Fetching pnpm ${PNPM}`,
    advice: NETWORK_ADVICE,
    command: process.platform === "win32" ? "npm.cmd" : "npm",
    args: ["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", "--prefix", home, `pnpm@${PNPM}`],
    cwd: root,
    env: withoutNpmContext(process.env),
    logFile,
    timeoutMs: STEP_MS,
  });
  writeFileSync(versionFile, PNPM);
  return binary;
}

/** `npm start` leaves its own settings in the environment; a second npm must not take them for options. */
function withoutNpmContext(env) {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) => !/^npm_(package|lifecycle|command|execpath|config_(local_prefix|prefix|silent|loglevel))/.test(name),
    ),
  );
}

function manifests(root) {
  const inside = ["packages", "services"].flatMap((folder) =>
    readdirSync(join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}/package.json`),
  );
  return ["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", "test/package.json", ...inside]
    .filter((file) => existsSync(join(root, file)))
    .sort();
}
