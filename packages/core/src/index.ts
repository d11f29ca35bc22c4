/** Pure core: events, fold, decide, transcript. No I/O, clock, randomness or environment. */
export * from "./content.ts";
export * from "./events.ts";
export * from "./ids.ts";
