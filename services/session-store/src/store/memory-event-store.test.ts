import { eventStoreContract } from "./event-store.contract.ts";
import { createMemoryEventStore } from "./memory-event-store.ts";

eventStoreContract("memory", async () => ({ store: createMemoryEventStore(), close: async () => undefined }), 500);
