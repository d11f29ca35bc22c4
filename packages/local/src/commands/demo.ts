import { runDemo } from "../demo/main.ts";
import { stopPlatformsOnSignal } from "../running-platforms.ts";

/** `npm run demo`; Ctrl-C in the middle still ends everything the demo started. */
export function demo(args: readonly string[]): Promise<number> {
  stopPlatformsOnSignal();
  return runDemo(args);
}
