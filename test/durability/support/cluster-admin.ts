/** What an operator asks of a cluster: who leads the log, whose copy is up to date, and to let another one lead. */
import { connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { eventually, type NatsCluster, type NatsNode } from "@manyhands/testkit";

const askMs = 5000;
const settleMs = 60_000;
const leadMs = 60_000;
const electedMs = 6000;

/** Lets another node lead the log, gracefully; a certain one when it is given. Does not wait for it. */
export async function stepDown(nats: NatsCluster, preferred?: NatsNode): Promise<void> {
  const body = preferred === undefined ? "" : JSON.stringify({ placement: { preferred: preferred.name } });
  await ask(nats, "$JS.API.STREAM.LEADER.STEPDOWN.MH_LOG", body);
}

/** Makes this node lead the log, so that it alone answers for its copy. */
export async function makeLeader(nats: NatsCluster, node: NatsNode): Promise<void> {
  const led = async () => {
    if (await node.isLeaderOf("MH_LOG")) return true;
    await stepDown(nats, node);
    return eventually(() => node.isLeaderOf("MH_LOG"), { timeoutMs: electedMs, everyMs: 50 });
  };
  await eventually(led, { timeoutMs: leadMs, everyMs: 200 });
}

/** Waits until all copies of the log are up to date, so that the next fault leaves a majority. */
export async function allCurrent(nats: NatsCluster): Promise<void> {
  await nats.ready();
  await eventually(
    async () => {
      const { cluster } = await ask(nats, "$JS.API.STREAM.INFO.MH_LOG", "");
      const others = cluster?.replicas ?? [];
      return others.length === nats.nodes.length - 1 && others.every((one) => one.current && !one.offline);
    },
    { timeoutMs: settleMs, everyMs: 100 },
  );
}

interface ApiAnswer {
  readonly error?: { readonly description?: string };
  readonly cluster?: { readonly replicas?: readonly { readonly current?: boolean; readonly offline?: boolean }[] };
}

async function ask(nats: NatsCluster, subject: string, body: string): Promise<ApiAnswer> {
  const bus = await connectBus({ url: nats.urls, name: "durability operator", logger: silentLogger() });
  try {
    const answer = (await bus.connection.request(subject, body, { timeout: askMs })).json<ApiAnswer>();
    if (answer.error !== undefined) throw new Error(`${subject}: ${answer.error.description}`);
    return answer;
  } finally {
    await bus.close();
  }
}
