/** What every store of session logs must do, as a test suite for vitest. README.md says how to use it. */
export type { EventStore } from "@manyhands/bus";
export { eventStoreContract, type OpenStore, type StoreUnderTest } from "./event-store-contract.ts";
