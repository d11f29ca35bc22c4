/**
 * What the tools of a session's MCP servers were when the session first saw them. A server may say something else later
 * ("rug pull"): a tool that was approved as one thing and has become another.
 *
 * P1 the first listing of a tool pins a digest of all that a model is shown of it: description and input schema. P2 a
 * tool that differs is withheld until it is again what it was: a stand-in is listed in its place, its calls are refused,
 * and neither a model nor a person is asked in its new form's words. P3 tools that come later are pinned when they come; the agent's policy says whether somebody is asked.
 */
import { createHash } from "node:crypto";
import { compareAndSwap } from "../store/compare-and-swap.ts";
import { decodeJson } from "../store/json.ts";
import type { Kv } from "../store/kv.ts";
import { asObject } from "./json-rpc.ts";
import type { ListedTool } from "./tool-rules.ts";

/** A tool with the server it is of. */
export type PinnedTool = ListedTool & { readonly server: string };

/** The tools that may be shown, and those that changed. */
export type CheckedTools = { readonly tools: readonly PinnedTool[]; readonly changed: readonly PinnedTool[] };

/** Pins of sessions. */
export type ToolPins = {
  /** Pins what is new and tells apart what changed. */
  check(session: string, tools: readonly PinnedTool[]): Promise<CheckedTools>;
  /** True when the tool differed from its pin at the last listing. */
  isWithheld(session: string, server: string, tool: string): Promise<boolean>;
};

/** By server and tool: the digest, and whether the latest listing had another. */
type Pin = { readonly digest: string; readonly changed?: true };
type PinsDocument = { readonly pins: Readonly<Record<string, Pin>> };

/** Most tools of one session; later ones count as changed. */
const MAX_PINS = 2048;

/** Pins beside the session's receipts, with which they are purged. */
export function toolPins(receipts: Kv): ToolPins {
  const keyOf = (session: string) => `${session}.tools`;
  return {
    async check(session, tools) {
      if (tools.length === 0) return { tools, changed: [] };
      const seen = new Map(tools.map((tool) => [pinName(tool.server, tool.name), digestOf(tool)]));
      const { pins } = await compareAndSwap<PinsDocument>(receipts, keyOf(session), (current) => {
        const next = new Map(Object.entries(current?.pins ?? {}));
        let isNew = !current;
        for (const [name, digest] of seen) {
          const pin = next.get(name);
          if (!pin && next.size >= MAX_PINS) continue;
          const changed = pin !== undefined && pin.digest !== digest;
          if (pin && (pin.changed ?? false) === changed) continue;
          next.set(name, { digest: pin?.digest ?? digest, ...(changed ? { changed } : {}) });
          isNew = true;
        }
        return current && !isNew ? current : { pins: Object.fromEntries(next) };
      });
      const isChanged = ({ server, name }: PinnedTool) => pins[pinName(server, name)]?.changed !== undefined;
      const isPinned = ({ server, name }: PinnedTool) => pins[pinName(server, name)] !== undefined;
      const shown = tools.filter((tool) => isPinned(tool) && !isChanged(tool));
      return { tools: shown, changed: tools.filter((tool) => !shown.includes(tool)) };
    },
    async isWithheld(session, server, tool) {
      const entry = await receipts.get(keyOf(session));
      return entry ? decodeJson<PinsDocument>(entry.value).pins[pinName(server, tool)]?.changed === true : false;
    },
  };
}

function pinName(server: string, tool: string): string {
  return JSON.stringify([server, tool]);
}

/** The same for schemas whose fields only stand in another order. */
function digestOf({ description, inputSchema }: ListedTool): string {
  const text = JSON.stringify([description, ordered(inputSchema)]);
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  const object = asObject(value);
  if (!object) return value;
  return Object.entries(object)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, one]) => [name, ordered(one)]);
}
