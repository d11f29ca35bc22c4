import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const MIN_MAJOR = 2;
const MIN_MINOR = 10;

/**
 * The path of a nats-server of at least 2.10: `NATS_SERVER_BIN`, then PATH, then `.manyhands/tools/nats-server` in the
 * checkout (where set-up puts it). Throws one error that lists what was looked at; tests fail with it, never skip.
 */
export function findNatsServer(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const looked: string[] = [];
  for (const path of candidates(env)) {
    const version = versionOf(path);
    if (version && (version.major > MIN_MAJOR || (version.major === MIN_MAJOR && version.minor >= MIN_MINOR))) {
      return path;
    }
    looked.push(`${path} (${version ? `is ${version.major}.${version.minor}` : "cannot be run"})`);
    if (path === env.NATS_SERVER_BIN) {
      break;
    }
  }
  throw new Error(
    `no nats-server of at least ${MIN_MAJOR}.${MIN_MINOR} found. Run the checkout's set-up (npm start), or set ` +
      `NATS_SERVER_BIN. Looked at: ${looked.join(", ") || "PATH and .manyhands/tools, nothing there"}`,
  );
}

function candidates(env: Readonly<Record<string, string | undefined>>): string[] {
  if (env.NATS_SERVER_BIN) {
    return [env.NATS_SERVER_BIN];
  }
  const onPath = (env.PATH ?? "")
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, "nats-server"));
  return [...onPath, join(repositoryRoot(), ".manyhands", "tools", "nats-server")].filter((path) => existsSync(path));
}

/** The nearest folder above this file with the workspace file; falls back to the working folder. */
function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (dirname(folder) !== folder) {
    if (existsSync(join(folder, "pnpm-workspace.yaml"))) {
      return folder;
    }
    folder = dirname(folder);
  }
  return process.cwd();
}

function versionOf(path: string): { major: number; minor: number } | undefined {
  try {
    accessSync(path, constants.X_OK);
    const match = /^nats-server: v(\d+)\.(\d+)/.exec(
      execFileSync(path, ["--version"], { encoding: "utf8", timeout: 10_000 }),
    );
    return match ? { major: Number(match[1]), minor: Number(match[2]) } : undefined;
  } catch {
    return undefined;
  }
}
