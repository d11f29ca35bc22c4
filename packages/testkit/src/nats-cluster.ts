import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";
import { type NatsServer, startNatsServer } from "./nats-server.ts";
import { tempDir } from "./temp-dir.ts";

/** How a test cluster is started. */
export type NatsClusterOptions = {
  /** Number of servers; default 3. */
  readonly nodes?: number;
  /** Each write is on disk before it is acknowledged; default false. */
  readonly syncAlways?: boolean;
  /** Store folder of each node, in order; default new temporary folders, removed on stop. Given ones are never removed. */
  readonly dirs?: readonly string[];
};

/** One server of a cluster. */
export type NatsNode = NatsServer & {
  /** Its name in the cluster. */
  readonly name: string;
  /** Whether this node says that it leads the stream; false when it is down or paused. */
  isLeaderOf(stream: string): Promise<boolean>;
  /** SIGSTOP: it keeps its connections and says nothing. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
};

/** Running servers that form one cluster on loopback. */
export type NatsCluster = {
  /** `nats://…` of all nodes, by comma. */
  readonly urls: string;
  readonly nodes: readonly NatsNode[];
  /** The node that leads the stream; waits at most `timeoutMs` (default 20 000) for one. */
  leaderOf(stream: string, timeoutMs?: number): Promise<NatsNode>;
  /** Waits until every node is up and follows the cluster's own leader. */
  ready(timeoutMs?: number): Promise<void>;
  /** Ends all nodes and removes temporary folders. Twice is fine. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const readyMs = 30_000;
const leaderMs = 20_000;
const askMs = 1000;

/** Starts the servers together and waits until they have a leader. Throws with a server's log when one does not come up. */
export async function startNatsCluster(options: NatsClusterOptions = {}): Promise<NatsCluster> {
  const count = options.nodes ?? options.dirs?.length ?? 3;
  const numbers = Array.from({ length: count }, (_, number) => number);
  const temporary = options.dirs === undefined ? await tempDir("manyhands-nats-cluster-") : undefined;
  const ports = await Promise.all(numbers.map(async () => ({ client: await freePort(), route: await freePort() })));
  const routes = ports.map(({ route }) => `"nats://127.0.0.1:${route}"`).join(", ");
  const started = await Promise.allSettled(
    numbers.map((number) =>
      startNatsServer({
        dir: options.dirs?.[number] ?? `${temporary?.path}/${number}`,
        port: ports[number]?.client ?? 0,
        syncAlways: options.syncAlways ?? false,
        config: `cluster { name: "test", listen: "127.0.0.1:${ports[number]?.route}", routes: [${routes}] }`,
      }),
    ),
  );
  const nodes = started.flatMap((one) => (one.status === "fulfilled" ? [nodeOf(one.value)] : []));
  const cluster = clusterOf(nodes, async () => temporary?.cleanup());
  const failed = started.find((one) => one.status === "rejected");
  try {
    if (failed !== undefined) throw failed.reason;
    await cluster.ready();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

function clusterOf(nodes: readonly NatsNode[], cleanup: () => Promise<void>): NatsCluster {
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await cleanup();
  };
  return {
    urls: nodes.map((node) => node.url).join(","),
    nodes,
    leaderOf: (stream, timeoutMs = leaderMs) =>
      eventually(
        async () => {
          const leads = await Promise.all(nodes.map((node) => node.isLeaderOf(stream)));
          return nodes[leads.indexOf(true)];
        },
        { timeoutMs, everyMs: 50 },
      ),
    async ready(timeoutMs = readyMs) {
      const ready = async () => (await Promise.all(nodes.map(followsLeader))).every(Boolean);
      await eventually(ready, { timeoutMs, everyMs: 50 });
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function nodeOf(server: NatsServer): NatsNode {
  const name = `test-${server.port}`;
  const signal = (which: NodeJS.Signals) => {
    if (server.pid !== undefined) process.kill(server.pid, which);
  };
  const resume = () => signal("SIGCONT");
  return {
    ...server,
    name,
    get pid() {
      return server.pid;
    },
    // A paused process does not see any signal but SIGKILL.
    stop(how) {
      resume();
      return server.stop(how);
    },
    restart() {
      resume();
      return server.restart();
    },
    isLeaderOf: (stream) => leads(server, name, stream),
    pause: () => signal("SIGSTOP"),
    resume,
  };
}

type Jsz = {
  readonly meta_cluster?: { readonly leader?: string };
  readonly account_details?: readonly {
    readonly stream_detail?: readonly { readonly name: string; readonly cluster?: { readonly leader?: string } }[];
  }[];
};

async function leads(server: NatsServer, name: string, stream: string): Promise<boolean> {
  const state = await jsz(server, "?accounts=true&streams=true");
  const streams = state?.account_details?.flatMap((account) => account.stream_detail ?? []) ?? [];
  return streams.some((one) => one.name === stream && one.cluster?.leader === name);
}

/** Whether the node is up and knows who leads the cluster. */
async function followsLeader(server: NatsServer): Promise<boolean> {
  return ((await jsz(server, ""))?.meta_cluster?.leader ?? "") !== "";
}

async function jsz(server: NatsServer, query: string): Promise<Jsz | undefined> {
  if (server.pid === undefined) return undefined;
  try {
    const response = await fetch(`${server.monitorUrl}/jsz${query}`, { signal: AbortSignal.timeout(askMs) });
    if (!response.ok) return undefined;
    const state: Jsz = JSON.parse(await response.text());
    return state;
  } catch {
    return undefined; // it is down, paused or on its way up: asked again by whoever waits
  }
}
