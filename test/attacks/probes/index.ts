import type { Probe } from "../probe.ts";
import { agentProbes } from "./agent.ts";
import { fileProbes } from "./files.ts";
import { kernelProbes } from "./kernel.ts";
import { memoryProbes } from "./memories.ts";
import { networkProbes } from "./network.ts";
import { resourceProbes } from "./resources.ts";
import { secretProbes } from "./secrets.ts";
import { sessionProbes } from "./sessions.ts";

/** All attacks, in the order they are run: the ones that may cost the hand come last. */
export const probes: readonly Probe[] = [
  ...kernelProbes,
  ...agentProbes,
  ...secretProbes,
  ...networkProbes,
  ...fileProbes,
  ...memoryProbes,
  ...sessionProbes,
  ...resourceProbes,
];
