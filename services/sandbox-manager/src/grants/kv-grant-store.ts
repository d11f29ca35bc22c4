import { randomBytes } from "node:crypto";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import { type HandGrants, parseHandGrants } from "./grant.ts";
import type { GrantStore } from "./grant-store.ts";

const KEY_BYTES = 32;

/**
 * Grants beside the hands' records: `grants.<hand>` holds all grants of a hand, `grant.<grant>` names its hand, and
 * `grant-key` is the key. The name is written before the record that has its grant as the newest: one that leads nowhere is harmless.
 */
export function createKvGrantStore(bucket: KvBucket): GrantStore {
  let key: Promise<Uint8Array> | undefined;
  return {
    key() {
      key ??= readKey(bucket).catch((error: unknown) => {
        key = undefined;
        throw error;
      });
      return key;
    },
    async read(handId) {
      const entry = await bucket.get(`grants.${handId}`);
      return entry
        ? { all: parseHandGrants(entry.value), revision: entry.revision }
        : { all: { handId, grants: [] }, revision: 0 };
    },
    async write(all: HandGrants, revision: number) {
      const { handId, grants } = all;
      const newest = grants.at(-1);
      if (newest?.operations.length === 0) await bucket.put(`grant.${newest.grantId}`, Buffer.from(handId));
      const value = Buffer.from(JSON.stringify(all));
      const at = `grants.${handId}`;
      const written = revision === 0 ? await bucket.create(at, value) : await bucket.update(at, value, revision);
      return written === undefined ? undefined : { all, revision: written };
    },
    async handOf(grantId) {
      const entry = await bucket.get(`grant.${grantId}`);
      return entry && Buffer.from(entry.value).toString("utf8");
    },
    async list() {
      const entries = await bucket.entries("grants.*");
      return entries.map(({ value, revision }) => ({ all: parseHandGrants(value), revision }));
    },
    async forget({ all, revision }) {
      if (!(await bucket.delete(`grants.${all.handId}`, revision))) return;
      for (const { grantId } of all.grants) await bucket.delete(`grant.${grantId}`);
    },
  };
}

async function readKey(bucket: KvBucket): Promise<Uint8Array> {
  const made = randomBytes(KEY_BYTES);
  if ((await bucket.create("grant-key", made)) !== undefined) return made;
  const entry = await bucket.get("grant-key");
  if (!entry) throw AppError.unavailable("GRANT_KEY_UNREADABLE", "the key of grants is there and cannot be read");
  return entry.value;
}
