/** Probes of the self-hosted work protocol: one session is taken, held and given back by hand. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type Anthropic from "@anthropic-ai/sdk";

/** What these probes find made, and what they make. */
export type MadeWork = { agent: string; session: string; workEnvironment: string; workSession: string; work: string };

type Probe = (client: Anthropic, made: MadeWork) => Promise<void>;

/** Probes by operation, in the order of a worker's life. */
export const workProbes: Record<`environments.work.${string}`, Probe> = {
  "environments.work.poll": async (client, made) => {
    const config = { type: "self_hosted" } as const;
    const environment = await client.beta.environments.create({ name: `work of ${made.session}`, config });
    made.workEnvironment = environment.id;
    strictEqual(await client.beta.environments.work.poll(environment.id, { block_ms: 10 }), null);
    const session = await client.beta.sessions.create({ agent: made.agent, environment_id: environment.id });
    made.workSession = session.id;
    const work = await client.beta.environments.work.poll(environment.id, { block_ms: 999 });
    deepStrictEqual(work?.data, { type: "session", id: session.id });
    ok(typeof work.secret === "string");
    made.work = work.id;
  },
  "environments.work.stats": async (client, made) => {
    const { depth, pending } = await client.beta.environments.work.stats(made.workEnvironment);
    deepStrictEqual({ depth, pending }, { depth: 1, pending: 1 });
  },
  "environments.work.ack": async (client, made) => {
    strictEqual((await client.beta.environments.work.ack(made.work, of(made))).state, "starting");
  },
  "environments.work.heartbeat": async (client, made) => {
    const asked = { ...of(made), expected_last_heartbeat: "NO_HEARTBEAT" };
    const beat = await client.beta.environments.work.heartbeat(made.work, asked);
    deepStrictEqual({ extended: beat.lease_extended, state: beat.state }, { extended: true, state: "active" });
  },
  "environments.work.retrieve": async (client, made) => {
    const work = await client.beta.environments.work.retrieve(made.work, of(made));
    ok(work.started_at !== null && work.secret === null);
  },
  "environments.work.update": async (client, made) => {
    const work = await client.beta.environments.work.update(made.work, { ...of(made), metadata: { place: "lab" } });
    deepStrictEqual(work.metadata, { place: "lab" });
  },
  "environments.work.list": async (client, made) => {
    const { data } = await client.beta.environments.work.list(made.workEnvironment, { limit: 1 });
    deepStrictEqual(
      data.map(({ id }) => id),
      [made.work],
    );
  },
  "environments.work.stop": async (client, made) => {
    strictEqual((await client.beta.environments.work.stop(made.work, { ...of(made), force: true })).state, "stopped");
    await client.beta.sessions.delete(made.workSession);
  },
};

function of({ workEnvironment }: MadeWork) {
  return { environment_id: workEnvironment };
}
