import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { rootDir, toolsDir } from "./paths.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** Builds (or finds built) the agent that runs inside a Docker hand, and answers the path of its binary. */
export async function ensureHandAgent(): Promise<string> {
  const script = join(rootDir, "services", "sandbox-manager", "agent", "build.mjs");
  if (!existsSync(script)) throw new SetupError(`${script} is missing`, { advice: "This checkout is not complete." });
  const module: unknown = await import(pathToFileURL(script).href);
  const build =
    typeof module === "object" && module !== null && "buildHandAgent" in module ? module.buildHandAgent : undefined;
  if (typeof build !== "function") throw new SetupError(`${script} exports no buildHandAgent`, { advice: "" });
  try {
    const built: unknown = await build(join(toolsDir, "hand-agent"));
    if (typeof built !== "string") throw new Error("buildHandAgent did not answer a path");
    return built;
  } catch (error) {
    throw new SetupError(`the hand agent could not be built (${messageOf(error)})`, {
      advice: "It needs a C compiler: install gcc or g++.",
    });
  }
}
