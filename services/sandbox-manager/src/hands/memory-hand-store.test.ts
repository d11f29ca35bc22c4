import { describeHandStore } from "./hand-store.contract.ts";
import { createMemoryHandStore } from "./memory-hand-store.ts";

describeHandStore(
  "memory",
  async () => createMemoryHandStore(),
  async () => undefined,
);
