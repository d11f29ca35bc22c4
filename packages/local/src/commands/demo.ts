import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SetupError } from "../setup-error.ts";

/** `npm run demo`: hands over to `demo/main.ts`. */
export async function demo(args: readonly string[]): Promise<number> {
  const script = new URL("../demo/main.ts", import.meta.url);
  if (!existsSync(fileURLToPath(script))) {
    throw new SetupError("this checkout has no demo", { advice: `${fileURLToPath(script)} is missing.` });
  }
  const module: unknown = await import(script.href);
  if (typeof module !== "object" || module === null || !("runDemo" in module) || typeof module.runDemo !== "function") {
    throw new SetupError("demo/main.ts exports no runDemo", { advice: "It must export async runDemo(args)." });
  }
  const code: unknown = await module.runDemo(args);
  return typeof code === "number" ? code : 0;
}
