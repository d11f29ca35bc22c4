import type { Finding } from "./judge.ts";
import type { RuntimeName } from "./runtimes.ts";
import type { Target } from "./target.ts";

/** One attack, and the same attack where its defence is off. */
export interface Probe {
  readonly name: string;
  /** In the fast selection that the tests run. */
  readonly fast?: boolean;
  /** Kinds of hands it makes sense for; default: those with processes (runc, runsc, bubblewrap). */
  readonly on?: readonly RuntimeName[];
  /** It uses something up: neighbour and host are looked at during and after it. */
  readonly exhausts?: boolean;
  attack(target: Target): Promise<Finding>;
  /** Must find the attack to work: the proof that the attack is one. Run once for all kinds of hands. */
  control(agent: string): Promise<Finding>;
}
