/**
 * Pushes that are under way: what each wants to move, durable before its first byte is sent on, so that whoever finds it
 * after a crash can ask the host what came of it.
 *
 * U1 a push lives as long as its owner renews it. U2 one whose owner has stopped is another's to settle, and only one
 * takes it. U3 it is forgotten once its client has the answer or the session's log has the outcome.
 */
import { AppError, type Clock, newId } from "@manyhands/kit";
import type { PushCommand } from "../policy/push-outcome.ts";
import { decodeJson, encodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";
import { purgeBelow } from "./purge.ts";

/** What is stored. */
export type PushRecord = {
  readonly session: string;
  readonly workspace: string;
  /** The repository, without any credential. */
  readonly url: string;
  readonly commands: readonly PushCommand[];
  /** Id of the event that will tell the outcome: a repeat is recognised by it. */
  readonly eventId: string;
  readonly owner: string;
  readonly leaseUntilMs: number;
};

/** A push and where it is kept. */
export type StoredPush = { readonly key: string; readonly record: PushRecord };

/** Pushes in a bucket. */
export type PushStore = {
  /** Notes a push; rejects when that is not certain. */
  begin(push: Pick<PushRecord, "session" | "workspace" | "url" | "commands">): Promise<StoredPush>;
  /** Says that the owner lives. False when it is not this process's any more. */
  renew(push: StoredPush): Promise<boolean>;
  /** Pushes whose owners have stopped, each this process's from now on. */
  takeLapsed(): Promise<readonly StoredPush[]>;
  forget(push: StoredPush): Promise<void>;
  /** Forgets those of a session that has ended. */
  purge(session: string): Promise<void>;
};

const PREFIX = "push";
const TAKEN_AT_ONCE = 16;

/** Pushes; `owner` is unique to this process, `leaseMs` is how long one is believed to live without a renewal. */
export function pushStore(bucket: Kv, owner: string, leaseMs: number, clock: Pick<Clock, "nowMs">): PushStore {
  const lease = () => clock.nowMs() + leaseMs;
  const read = async (key: string) => {
    const entry = await bucket.get(key);
    return entry && { revision: entry.revision, record: decodeJson<PushRecord>(entry.value) };
  };
  return {
    async begin(push) {
      const key = `${PREFIX}.${push.session}.${newId("push")}`;
      const record = { ...push, eventId: newId("sevt"), owner, leaseUntilMs: lease() };
      if ((await bucket.create(key, encodeJson(record))) === undefined)
        throw AppError.unavailable("PUSH_NOT_NOTED", "the push could not be noted down");
      return { key, record };
    },
    async renew({ key }) {
      const known = await read(key);
      if (known?.record.owner !== owner) return false;
      const renewed = { ...known.record, leaseUntilMs: lease() };
      return (await bucket.update(key, encodeJson(renewed), known.revision)) !== undefined;
    },
    async takeLapsed() {
      const taken: StoredPush[] = [];
      for (const key of await bucket.keys(PREFIX)) {
        if (taken.length === TAKEN_AT_ONCE) break;
        const known = await read(key);
        if (!known || known.record.owner === owner || known.record.leaseUntilMs > clock.nowMs()) continue;
        const record = { ...known.record, owner, leaseUntilMs: lease() };
        if ((await bucket.update(key, encodeJson(record), known.revision)) !== undefined) taken.push({ key, record });
      }
      return taken;
    },
    forget: ({ key }) => bucket.purge(key),
    purge: (session) => purgeBelow(bucket, `${PREFIX}.${session}`),
  };
}
