import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type ComposeCommand, rootDir } from "@manyhands/local";

const run = promisify(execFile);
const maxOutputBytes = 64 * 1024 * 1024;
const commandMs = 120_000;
const upMs = 420_000;
const shownChars = 6_000;

/** One container of the project. */
export interface ComposeContainer {
  readonly id: string;
  readonly service: string;
  readonly state: string;
  readonly health: string;
  readonly exitCode: number;
}

/** The project of one test run: its own name, port and image tag; the files are those that a user gets. */
export interface ComposeProject {
  readonly name: string;
  /** `docker compose <args>`; answers standard output, rejects with the end of what it said. */
  run(args: readonly string[], timeoutMs?: number): Promise<string>;
  /** Builds the images, unless `options` say otherwise, and waits until every service is healthy. */
  up(scale: Readonly<Record<string, number>>, ...options: readonly string[]): Promise<void>;
  containers(): Promise<readonly ComposeContainer[]>;
  /** Removes its containers, networks and volumes. */
  down(): Promise<void>;
}

/** A project of docker-compose.yml in the checkout's root. Nothing of the caller's own model settings gets into it. */
export function composeProject(
  compose: ComposeCommand,
  options: { name: string; port: number; tag: string },
): ComposeProject {
  const { name } = options;
  const env = {
    ...process.env,
    MANYHANDS_PORT: String(options.port),
    MANYHANDS_TAG: options.tag,
    ANTHROPIC_API_KEY: "",
    ANTHROPIC_BASE_URL: "",
  };
  const call = async (args: readonly string[], timeoutMs = commandMs) => {
    const all = [...compose.args, "--progress", "plain", "--project-name", name, ...args];
    try {
      const { stdout } = await run(compose.command, all, {
        cwd: rootDir,
        env,
        timeout: timeoutMs,
        maxBuffer: maxOutputBytes,
      });
      return stdout;
    } catch (error) {
      throw new Error(`docker compose ${args.join(" ")} failed:\n${endOf(error)}`);
    }
  };
  return {
    name,
    run: call,
    async up(scale, ...options) {
      const scales = Object.entries(scale).flatMap(([service, count]) => ["--scale", `${service}=${count}`]);
      try {
        await call(["up", "--wait", ...options, ...scales], upMs);
      } catch (error) {
        const logs = await call(["logs", "--no-color", "--tail", "12"]).catch(String);
        throw new Error(`${String(error)}\n${logs}`);
      }
    },
    async containers() {
      const lines = (await call(["ps", "--all", "--no-trunc", "--format", "json"])).trim().split("\n").filter(Boolean);
      return lines.map(parseContainer);
    },
    async down() {
      await call(["down", "--volumes", "--remove-orphans", "--timeout", "15"]);
    },
  };
}

/** The fields of `compose ps --format json` that are used here. */
interface PsLine {
  readonly ID: string;
  readonly Service: string;
  readonly State: string;
  readonly Health: string;
  readonly ExitCode: number;
}

function parseContainer(line: string): ComposeContainer {
  const { ID: id, Service: service, State: state, Health: health, ExitCode: exitCode }: PsLine = JSON.parse(line);
  return { id, service, state, health, exitCode };
}

function endOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error);
  const outputs = ["stdout", "stderr"].map((name) => String(Reflect.get(error, name) ?? ""));
  const text = outputs.filter(Boolean).join("\n");
  return (text || String(error)).slice(-shownChars);
}
