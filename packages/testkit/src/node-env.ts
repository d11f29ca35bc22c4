import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * What every Node process of a test gets of our environment: where programs are, and where compiled sources are kept
 * (Node's own default place unless it is set), for most of a start is spent on compiling them.
 */
export function nodeEnv(): { readonly PATH: string; readonly NODE_COMPILE_CACHE: string } {
  const { PATH = "", NODE_COMPILE_CACHE = join(tmpdir(), "node-compile-cache") } = process.env;
  return { PATH, NODE_COMPILE_CACHE };
}
