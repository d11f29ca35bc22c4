/** Pure core: events, fold, decide, transcript. No I/O, clock, randomness or environment. */
export * from "./actions.ts";
export * from "./agent-config.ts";
export * from "./checkpoint.ts";
export * from "./content.ts";
export * from "./decide.ts";
export * from "./events.ts";
export * from "./evolve.ts";
export * from "./header.ts";
export * from "./ids.ts";
export * from "./limits.ts";
export * from "./model-response.ts";
export * from "./needs-brain.ts";
export * from "./recovery.ts";
export * from "./state.ts";
export * from "./tool-definitions.ts";
export * from "./tool-policy.ts";
export * from "./transcript.ts";
