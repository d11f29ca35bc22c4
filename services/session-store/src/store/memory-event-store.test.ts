import { logContract } from "./log.contract.ts";
import { createMemoryEventStore } from "./memory-event-store.ts";

logContract("memory", async () => ({ store: createMemoryEventStore(), close: async () => undefined }), 500);
