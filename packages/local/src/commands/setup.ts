import { chooseHands } from "../hands-choice.ts";
import { ensureNatsServer } from "../nats-server.ts";
import { checkoutPaths } from "../paths.ts";
import { stderrProgress } from "../progress.ts";

/** `setup`: fetches and makes everything a start needs, starts nothing. */
export async function setup(_args: readonly string[]): Promise<number> {
  const nats = await ensureNatsServer(stderrProgress);
  stderrProgress(`nats-server ${nats.version}: ${nats.path} (${nats.source})`);
  const hands = await chooseHands(undefined, process.env, stderrProgress, checkoutPaths.state);
  stderrProgress(`hands: ${hands.driver} (${hands.why})`);
  return 0;
}
