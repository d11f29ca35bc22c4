/** NATS servers that each have a disk of their own, all of which lose their power at the same moment. */
import { type NatsServer, startNatsCluster, startNatsServer } from "@manyhands/testkit";
import type { NatsPlace } from "./bed.ts";
import { type LoopImage, loopImage } from "./loop-image.ts";

/** One server or a cluster of three. */
export interface Machines {
  readonly place: NatsPlace;
  /** Stops all servers at one moment, loses what their disks had not flushed, and ends them. */
  cutPower(): Promise<void>;
  /** Mounts the disks again and starts the servers. */
  powerOn(): Promise<void>;
  /** Ends the servers and removes the disks, also after a failure in mid-cut. */
  remove(): Promise<void>;
}

/** Makes the disks, then the servers on them. */
export async function machines(options: { nodes: 1 | 3; synced: boolean; megabytes: number }): Promise<Machines> {
  const disks: LoopImage[] = [];
  const removeDisks = async () => {
    const removed = await Promise.allSettled(disks.map((disk) => disk.remove()));
    for (const one of removed) if (one.status === "rejected") throw one.reason;
  };
  try {
    for (let number = 0; number < options.nodes; number += 1) disks.push(await loopImage(options.megabytes));
    const servers = await startOn(disks, options.synced);
    const { urls, monitorUrl } = servers;
    return {
      place: { urls, monitorUrl, replicas: options.nodes, synced: options.synced },
      async cutPower() {
        for (const { pid } of servers.nodes) if (pid !== undefined) process.kill(pid, "SIGSTOP");
        await Promise.all(disks.map((disk) => disk.cutPower()));
        await Promise.all(servers.nodes.map((node) => node.kill9()));
      },
      async powerOn() {
        await Promise.all(disks.map((disk) => disk.mountAgain()));
        await Promise.all(servers.nodes.map((node) => node.restart()));
        await servers.ready();
      },
      async remove() {
        await Promise.all(servers.nodes.map((node) => node.kill9()));
        await removeDisks();
      },
    };
  } catch (error) {
    await removeDisks();
    throw error;
  }
}

interface Servers {
  readonly nodes: readonly NatsServer[];
  readonly urls: string;
  readonly monitorUrl: string;
  ready(): Promise<void>;
}

async function startOn(disks: readonly LoopImage[], syncAlways: boolean): Promise<Servers> {
  const [first] = disks;
  if (disks.length === 1 && first !== undefined) {
    const server = await startNatsServer({ dir: first.dir, syncAlways });
    return { nodes: [server], urls: server.url, monitorUrl: server.monitorUrl, ready: async () => undefined };
  }
  const cluster = await startNatsCluster({ dirs: disks.map((disk) => disk.dir), syncAlways });
  const { nodes, urls } = cluster;
  return { nodes, urls, monitorUrl: nodes[0]?.monitorUrl ?? "", ready: () => cluster.ready() };
}
