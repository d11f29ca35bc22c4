import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { rootDir } from "./paths.ts";
import { SetupError } from "./setup-error.ts";

/** A function of a suite below `test/`, which is not part of any package; what it answers is for the caller to check. */
export async function loadSuite(file: string, name: string): Promise<(options: object) => Promise<unknown>> {
  const module: unknown = await import(pathToFileURL(join(rootDir, "test", file)).href);
  const run: unknown = typeof module === "object" && module !== null ? Reflect.get(module, name) : undefined;
  if (typeof run !== "function") {
    throw new SetupError(`test/${file} has no ${name}`, { advice: "This checkout is not complete." });
  }
  return (options) => Promise.resolve(run(options));
}
