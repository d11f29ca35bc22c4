import { createMemorySideStore } from "./memory-side-store.ts";
import { sideStoreContract } from "./side-store.contract.ts";

sideStoreContract("memory", async () => ({ store: createMemorySideStore(), close: async () => undefined }));
