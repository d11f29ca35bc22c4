/** What every store of session logs must do, as a test suite for vitest. README.md says how to use it. */
export type { EventStore } from "@manyhands/bus";
export { eventStoreContract } from "./event-store-contract.ts";
export type { OpenStore } from "./store-under-test.ts";
