/**
 * Long bodies pass by in buffers that are garbage at once. V8 starts the cheap collection of young objects by their own
 * few bytes alone, but counts the buffers' memory too towards one of the whole heap: every 64 MiB, which for a body costs
 * as much as everything else. Asked for in time, the cheap one frees them.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { readonly type: "minor" }) => void;

/** So many bytes pass between two collections, each about 2 ms; with twice as many the big ones come back now and then. */
const EVERY_BYTES = 8 * 1024 * 1024;

let passed = 0;
let collect: Collect | undefined;

/** To be told of bytes that passed in buffers which nobody holds any more. */
export function bytesPassed(length: number): void {
  passed += length;
  if (passed < EVERY_BYTES) return;
  passed = 0;
  collect ??= exposeCollector();
  collect({ type: "minor" });
}

/** Node has no API for it: V8 gives the function to contexts that are made while this flag is set. */
function exposeCollector(): Collect {
  setFlagsFromString("--expose-gc");
  const found: unknown = runInNewContext("typeof gc === 'function' ? gc : undefined");
  setFlagsFromString("--no-expose-gc");
  // What V8 calls so takes these options.
  return typeof found === "function" ? (found as Collect) : () => undefined;
}
