/** Asks for every operation of the official client and says how each was answered. */
import Anthropic from "@anthropic-ai/sdk";
import { type OperationName, operations } from "@manyhands/gateway";
import { type Made, probes } from "./probes.ts";

/** How one operation was answered: `served`, `not_served` (refused as such, not to be retried), or what went wrong. */
export type Row = {
  op: OperationName;
  method: string;
  path: string;
  status: "served" | "not_served" | "failed";
  note: string;
};

/** Where to ask. */
export type Target = { readonly url: string; readonly key: string };

const noWork = { workEnvironment: "", workSession: "", work: "", store: "", memory: "", memoryVersion: "" };

/** One row for each of the 118 operations, in the order of the operations table. */
export async function runProbes({ url, key }: Target): Promise<Row[]> {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const nothing = { agent: "", environment: "", session: "", vault: "", credential: "", resource: "", file: "" };
  const made: Made = { ...nothing, ...noWork };
  const answered = new Map<string, Pick<Row, "status" | "note">>();
  for (const [op, probe] of Object.entries(probes)) {
    answered.set(op, await outcome(() => probe(client, made)));
  }
  const rows: Row[] = [];
  for (const operation of operations) {
    const { status, note } = answered.get(operation.op) ?? (await refused({ url, key }, operation));
    rows.push({ ...operation, status, note });
  }
  return rows;
}

async function outcome(probe: () => Promise<void>): Promise<Pick<Row, "status" | "note">> {
  try {
    await probe();
    return { status: "served", note: "" };
  } catch (error) {
    return { status: "failed", note: error instanceof Error ? error.message.slice(0, 500) : String(error) };
  }
}

/** An operation that is not served says so, and that asking again is no use. */
async function refused({ url, key }: Target, { method, path }: { method: string; path: string }) {
  const response = await fetch(`${url}${path.replaceAll(/\{\w+\}/g, "x_1")}`, {
    method,
    headers: { authorization: `Bearer ${key}` },
  });
  const text = await response.text();
  const plain = response.status === 501 && response.headers.get("x-should-retry") === "false";
  return plain && text.includes("is not served yet")
    ? ({ status: "not_served", note: "" } as const)
    : ({ status: "failed", note: `answered ${response.status}: ${text.slice(0, 200)}` } as const);
}
