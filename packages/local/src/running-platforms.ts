import { stderrProgress } from "./progress.ts";
import { onStopSignal } from "./stop-signal.ts";

/** How to stop each platform this process has started and not yet stopped. */
const stops = new Set<() => Promise<void>>();

/** Remembers a platform that is starting or running; the answer forgets it again. */
export function rememberPlatform(stop: () => Promise<void>): () => void {
  stops.add(stop);
  return () => stops.delete(stop);
}

/** For commands that start platforms on their way: a stop signal drains and removes them before the process ends. */
export function stopPlatformsOnSignal(): void {
  onStopSignal((signal) => {
    stderrProgress(`${signal}: stopping`);
    void Promise.allSettled([...stops].map((stop) => stop())).then(() => process.exit(130));
  });
}
