/** Ctrl-C reaches this process from the terminal and again from npm: both are one wish. */
const SAME_WISH_MS = 1_500;
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Calls `stop` on the first stop signal. A later one, clearly a second wish, ends this process at once: what it
 * started then ends by itself because its pipe to the supervisor closes.
 */
export function onStopSignal(stop: (signal: string) => void): void {
  let firstAt: number | undefined;
  for (const signal of signals) {
    process.on(signal, () => {
      if (firstAt === undefined) {
        firstAt = performance.now();
        stop(signal);
      } else if (performance.now() - firstAt > SAME_WISH_MS) {
        process.exit(130);
      }
    });
  }
}
