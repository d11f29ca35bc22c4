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
  | { readonly driver: "virtual"; readonly why: string };

/** The drivers a person can ask for. */
export const handDrivers = ["docker", "virtual"] as const;
/** One of them. */
export type HandDriver = (typeof handDrivers)[number];

/**
 * Docker when an engine answers and an image and the agent can be made, else the virtual driver. A driver that was
 * asked for is used or the reason why it cannot be is thrown: never silently another one.
 */
export async function chooseHands(
  asked: HandDriver | undefined,
  env: NodeJS.ProcessEnv,
  progress: Progress,
): Promise<HandsChoice> {
  if (asked === "virtual") return { driver: "virtual", why: "asked for" };
  const engine = await findDockerEngine(env);
  if (!engine.answers) {
    if (asked === "docker") {
      throw new SetupError(`Docker hands were asked for, but ${engine.reason}`, {
        advice: "Start the engine or use --hands virtual.",
      });
    }
    return { driver: "virtual", why: engine.reason };
  }
  try {
    const image = await ensureHandImage(engine.docker, progress);
    const agent = await ensureHandAgent();
    const missing = image.missing === "" ? "" : `; its image lacks ${image.missing}`;
    const why = `Docker Engine ${engine.version} answers at ${engine.socket}${missing}`;
    return { driver: "docker", why, image: image.image, agent, socket: engine.socket };
  } catch (error) {
    if (asked === "docker") throw error;
    return { driver: "virtual", why: `Docker answers, but ${messageOf(error)}` };
  }
}
