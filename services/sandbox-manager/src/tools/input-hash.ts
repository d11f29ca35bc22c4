import { createHash } from "node:crypto";

/** SHA-256 of a tool call, independent of the order of its fields: what makes an operation the same operation. */
export function inputHash(name: string, input: unknown): Uint8Array {
  return createHash("sha256").update(name).update("\0").update(canonical(input)).digest();
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}
