/**
 * What the vault-proxy costs: the same request through it and straight to the upstream, interleaved, on connections
 * that are kept. The rows of latency tell what is added as `ours - floor`, in milliseconds.
 */
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import path from "node:path";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import type { BenchReport } from "@manyhands/local";
import { DOWNLOAD_BYTES, type ProxyRig, startProxyRig } from "./support/proxy-rig.ts";
import { type Row, rateRow, timed, timeRow } from "./support/rows.ts";
import { median } from "./support/statistics.ts";

const perRound = 40;
const warmUps = 5;
/** The median of fewer says more about the moment than about the proxy. */
const downloadRounds = 7;
const MB = 1024 * 1024;
const run = promisify(execFile);

type Samples = { readonly ours: number[]; readonly floor: number[] };

/** Runs the benchmark. */
export default async function proxy({ rounds }: { rounds: number }): Promise<BenchReport> {
  const rig = await startProxyRig();
  try {
    const bodies = new Client(rig);
    const rows: Row[] = [];
    const add = (name: string, samples: Samples, limit: string) => {
      const added = median(samples.ours) - median(samples.floor);
      rows.push(timeRow(name, samples.ours, samples.floor, `added ${added.toFixed(2)} ms, ${limit}`));
    };
    const latencies = [
      ["model", "wanted: at most 3 ms", bodies.modelVia, bodies.modelDirect],
      ["model_first_byte", "of a stream that ends 100 ms later", bodies.streamVia, bodies.streamDirect],
      ["egress", "wanted: at most 5 ms; a plain request", bodies.egressVia, bodies.egressDirect],
      ["egress_tunnel", "CONNECT and one request in a new tunnel", bodies.tunnelVia, bodies.tunnelDirect],
    ] as const;
    for (const [name, limit, via, direct] of latencies) {
      add(name, await interleaved(rounds * perRound, warmUps, via, direct), limit);
    }
    const downloads = [
      [
        "egress_throughput",
        "100 MB by HTTPS through a tunnel; wanted: at least 0.7x",
        bodies.secureVia,
        bodies.secureDirect,
      ],
      ["egress_throughput_plain", "the same without TLS", bodies.downloadVia, bodies.downloadDirect],
      [
        "egress_throughput_intercepted",
        "the same where TLS ends at the proxy, which searches the answer for a credential",
        bodies.interceptedVia,
        bodies.secureDirect,
      ],
      [
        "egress_throughput_bare_relay",
        "the floor of that row: TLS ends at two pipes of Node's and nothing else",
        bodies.relayVia,
        bodies.secureDirect,
      ],
    ] as const;
    const perSecond = (ms: number) => DOWNLOAD_BYTES / MB / (ms / 1000);
    for (const [name, note, via, direct] of downloads) {
      const { ours, floor } = await interleaved(Math.max(rounds, downloadRounds), 2, via, direct);
      rows.push(rateRow(name, "MB/s", ours.map(perSecond), floor.map(perSecond), note));
    }
    const clones = await interleaved(rounds, 1, cloneBy(rig, "via"), cloneBy(rig, "direct"));
    rows.push(timeRow("git_clone", clones.ours, clones.floor, "50 MB in 50 files; wanted: at most 1.2x"));
    bodies.close();
    return { bench: "proxy", rounds, rows };
  } finally {
    await rig.stop();
  }
}

/** Milliseconds of both, one after the other; the first ones load code and open connections. */
async function interleaved(
  count: number,
  skip: number,
  ours: () => Promise<number>,
  floor: () => Promise<number>,
): Promise<Samples> {
  const samples: Samples = { ours: [], floor: [] };
  for (let i = 0; i < count + skip; i++) {
    const [direct, through] = [await floor(), await ours()];
    if (i < skip) continue;
    samples.floor.push(direct);
    samples.ours.push(through);
  }
  return samples;
}

/** Requests of one client over connections that it keeps. */
class Client {
  private readonly agent = new Agent({ keepAlive: true });
  private readonly rig: ProxyRig;
  private readonly body = JSON.stringify({ model: "claude", messages: [{ role: "user", content: "a".repeat(4096) }] });

  constructor(rig: ProxyRig) {
    this.rig = rig;
  }

  readonly modelVia = () => this.post(`http://${this.rig.model}/v1/messages`);
  readonly modelDirect = () => this.post(`${this.rig.upstream}/v1/messages`);
  readonly streamVia = () => this.post(`http://${this.rig.model}/v1/messages?beta=true`, true);
  readonly streamDirect = () => this.post(`${this.rig.upstream}/v1/messages?beta=true`, true);
  readonly egressVia = () => timed(() => finished(this.ask(this.rig.egress, `${this.rig.upstream}/small`)));
  readonly egressDirect = () => timed(() => finished(this.ask(new URL(this.rig.upstream).host, "/small")));
  readonly tunnelVia = () => timed(() => this.throughTunnel("/small"));
  readonly tunnelDirect = () => timed(() => finished(this.fresh("/small")));
  readonly secureVia = () => timed(async () => this.secureDownload(await this.tunnelTo(this.rig.secureUpstream)));
  readonly secureDirect = () => timed(() => this.secureDownload(connectTo(this.rig.secureUpstream)));
  readonly interceptedVia = () =>
    timed(async () => {
      const { token, ca } = this.rig.intercepted;
      await this.secureDownload(await this.tunnelTo(this.rig.secureUpstream, token), ca);
    });
  readonly relayVia = () => timed(() => this.secureDownload(connectTo(this.rig.relay)));
  readonly downloadVia = () => timed(() => this.throughTunnel("/download"));
  readonly downloadDirect = () => timed(() => finished(this.fresh("/download")));

  close(): void {
    this.agent.destroy();
  }

  private async post(url: string, firstByteOnly = false): Promise<number> {
    const start = performance.now();
    const outgoing = httpRequest(url, {
      agent: this.agent,
      method: "POST",
      headers: {
        authorization: `Bearer ${this.rig.token}`,
        "content-type": "application/json",
        "content-length": this.body.length,
        "anthropic-version": "2023-06-01",
      },
    });
    const answered = answerOf(outgoing);
    outgoing.end(this.body);
    const answer = await answered;
    if (firstByteOnly) {
      await new Promise((resolve) => answer.once("data", resolve));
      const ms = performance.now() - start;
      await finished(Promise.resolve(answer));
      return ms;
    }
    await finished(Promise.resolve(answer));
    return performance.now() - start;
  }

  /** A GET whose target is written as it is: a path, or a whole URL for a proxy. */
  private ask(address: string, target: string): Promise<IncomingMessage> {
    const outgoing = httpRequest({
      agent: this.agent,
      host: address.slice(0, address.lastIndexOf(":")),
      port: Number(address.split(":").at(-1)),
      path: target,
      headers: { host: new URL(this.rig.upstream).host, "proxy-authorization": `Bearer ${this.rig.token}` },
    });
    const answered = answerOf(outgoing);
    outgoing.end();
    return answered;
  }

  private fresh(target: string): Promise<IncomingMessage> {
    const outgoing = httpRequest(`${this.rig.upstream}${target}`, { agent: false });
    const answered = answerOf(outgoing);
    outgoing.end();
    return answered;
  }

  private async throughTunnel(target: string): Promise<void> {
    const { host } = new URL(this.rig.upstream);
    const socket = await this.tunnelTo(host);
    const headers = { host, connection: "close" };
    const outgoing = httpRequest({ createConnection: () => socket, path: target, headers });
    const answered = answerOf(outgoing);
    outgoing.end();
    await finished(answered);
  }

  private async secureDownload(socket: Socket, ca = this.rig.upstreamCa): Promise<void> {
    const secure = connectTls({ socket, servername: "localhost", ca: [ca] });
    const headers = { host: this.rig.secureUpstream, connection: "close" };
    const outgoing = httpRequest({ createConnection: () => secure, path: "/download", headers });
    const answered = answerOf(outgoing);
    outgoing.end();
    await finished(answered);
  }

  private tunnelTo(target: string, token = this.rig.token): Promise<Socket> {
    const [host = "", port = ""] = this.rig.egress.split(":");
    const connecting = httpRequest({
      agent: false,
      host,
      port: Number(port),
      method: "CONNECT",
      path: target,
      headers: { "proxy-authorization": `Bearer ${token}` },
    });
    return new Promise((resolve, reject) => {
      connecting.once("connect", (answer, tunnel) => {
        if (answer.statusCode === 200) resolve(tunnel);
        else reject(new Error(`the proxy answered ${answer.statusCode}`));
      });
      connecting.once("error", reject);
      connecting.end();
    });
  }
}

function connectTo(address: string): Socket {
  const [, port = ""] = address.split(":");
  return connect({ host: "127.0.0.1", port: Number(port) });
}

function answerOf(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.once("error", reject);
  });
}

/** Reads an answer to its end; anything but 200 is a failed measurement. */
async function finished(answering: Promise<IncomingMessage>): Promise<void> {
  const answer = await answering;
  if (answer.statusCode !== 200) throw new Error(`the answer was ${answer.statusCode}`);
  if (answer.readableEnded) return;
  answer.resume();
  await new Promise((resolve, reject) => {
    answer.once("end", resolve);
    answer.once("error", reject);
  });
}

function cloneBy(rig: ProxyRig, way: "via" | "direct"): () => Promise<number> {
  const folder = path.join(rig.hand.folder, way);
  const url = rig.git.repoUrl("big");
  const withToken = url.replace("://", `://x-access-token:${rig.gitToken}@`);
  return async () => {
    const ms = await timed(() =>
      way === "via"
        ? rig.hand.git(rig.hand.folder, "clone", "--quiet", url, folder)
        : run("git", ["clone", "--quiet", withToken, folder], { timeout: 120_000 }),
    );
    await rm(folder, { recursive: true });
    return ms;
  };
}
