import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findBubblewrap } from "./bubblewrap.ts";
import { findDockerEngine } from "./docker-engine.ts";
import { ensureHandAgent } from "./hand-agent.ts";
import { ensureHandImage } from "./hand-image.ts";
import type { Progress } from "./progress.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** Which driver gives hands on this machine, and why. */
export type HandsChoice =
  | {
      readonly driver: "docker";
      readonly why: string;
      readonly image: string;
      readonly agent: string;
      readonly socket: string;
    }
  | {
      readonly driver: "bubblewrap";
      readonly why: string;
      readonly agent: string;
      /** Where its hands live. */
      readonly stateDir: string;
    }
  | { readonly driver: "virtual"; readonly why: string };

/** The drivers a person can ask for, the strongest first. */
export const handDrivers = ["docker", "bubblewrap", "virtual"] as const;
/** One of them. */
export type HandDriver = (typeof handDrivers)[number];

const SHORT_HASH = 8;

/**
 * Docker when an engine answers and an image and the agent can be made, else bubblewrap when it is there and works,
 * else the virtual driver. A driver that was asked for is used or the reason why it cannot be is thrown: never
 * silently another one. Installs nothing. `stateFolder` is the platform's own: it gives bubblewrap hands their place.
 */
export async function chooseHands(
  asked: HandDriver | undefined,
  env: NodeJS.ProcessEnv,
  progress: Progress,
  stateFolder: string,
): Promise<HandsChoice> {
  if (asked === "virtual") return { driver: "virtual", why: "asked for" };
  const reasons: string[] = [];
  const tries = {
    docker: () => dockerHands(env, progress),
    bubblewrap: () => bubblewrapHands(stateFolder, asked === "bubblewrap" ? ["asked for"] : reasons),
  };
  for (const driver of ["docker", "bubblewrap"] as const) {
    if (asked !== undefined && asked !== driver) continue;
    const found = await tries[driver]();
    if (typeof found !== "string") return found;
    if (asked === driver) {
      throw new SetupError(`${driver} hands were asked for, but ${found}`, {
        advice: "Make that work, or use --hands virtual.",
      });
    }
    reasons.push(found);
  }
  return { driver: "virtual", why: reasons.join("; ") };
}

async function dockerHands(env: NodeJS.ProcessEnv, progress: Progress): Promise<HandsChoice | string> {
  const engine = await findDockerEngine(env);
  if (!engine.answers) return engine.reason;
  try {
    const image = await ensureHandImage(engine.docker, progress);
    const agent = await ensureHandAgent();
    const missing = image.missing === "" ? "" : `; its image lacks ${image.missing}`;
    const why = `Docker Engine ${engine.version} answers at ${engine.socket}${missing}`;
    return { driver: "docker", why, image: image.image, agent, socket: engine.socket };
  } catch (error) {
    return `Docker answers, but ${messageOf(error)}`;
  }
}

async function bubblewrapHands(stateFolder: string, reasons: readonly string[]): Promise<HandsChoice | string> {
  const found = await findBubblewrap();
  if (!found.works) return found.reason;
  try {
    const agent = await ensureHandAgent();
    const why = [`bubblewrap ${found.version}: namespaces of this machine, its kernel and /usr are shared`, ...reasons];
    return { driver: "bubblewrap", why: why.join("; "), agent, stateDir: bubblewrapDir(stateFolder) };
  } catch (error) {
    return `bubblewrap works, but ${messageOf(error)}`;
  }
}

/** In memory, short enough for a socket's path, and another one for each platform of this machine. */
function bubblewrapDir(stateFolder: string): string {
  const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const name = createHash("sha256").update(stateFolder).digest("hex").slice(0, SHORT_HASH);
  return join(base, `manyhands-${process.getuid?.() ?? 0}-${name}`);
}
