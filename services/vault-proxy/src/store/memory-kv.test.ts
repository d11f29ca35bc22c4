import { expect, it } from "vitest";
import { kvContract } from "./kv.contract.ts";
import { MAX_VALUE_BYTES } from "./kv.ts";
import { memoryKv } from "./memory-kv.ts";

const kv = memoryKv();
kvContract("memory", async () => kv);

it("refuses a value that is too long", async () => {
  await expect(kv.create("long", new Uint8Array(MAX_VALUE_BYTES + 1))).rejects.toThrow(RangeError);
});
