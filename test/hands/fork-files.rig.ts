/**
 * Random histories of a hand's files (written, appended, moved, removed, links, modes, folders, names with spaces), and
 * for each a new hand, made by another manager, that begins at a random moment of it: the trees must be the same in
 * names, types, modes, targets and bytes.
 */
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { ensureHandAgent } from "@manyhands/local";
import { SandboxService } from "@manyhands/protocol";
import { createSandboxManager, readConfig } from "@manyhands/sandbox-manager";
import { startNatsServer } from "@manyhands/testkit";
import {
  between,
  type RigOptions,
  type RigReport,
  type RigRow,
  report,
  seededRandom,
} from "../durability/support/rig.ts";

const CALL_MS = 60_000;
const MOST_STEPS = 9;

type Client = RpcClient<typeof SandboxService>;
type Random = () => number;

/** Runs the rig: all histories without an engine, a tenth of them in containers where there is one. */
export default function forkFiles(options: RigOptions): Promise<RigReport> {
  const few = Math.ceil(options.runs / 10);
  return report("fork-files", options, [
    () => histories("bubblewrap", options, options.runs),
    () => histories("docker", { ...options, seed: options.seed + 1 }, few),
  ]);
}

async function histories(driver: string, options: RigOptions, runs: number): Promise<RigRow> {
  const nats = await startNatsServer({ syncAlways: true });
  const stops: (() => Promise<unknown>)[] = [() => nats.stop()];
  try {
    const env = {
      ...process.env,
      MH_NATS_URL: nats.url,
      MH_HAND_DRIVER: driver,
      MH_HAND_AGENT: await ensureHandAgent(),
      MH_HAND_POOL_SIZE: "0",
      MH_HAND_ON_STOP: "release",
      MH_GRPC_LISTEN: "127.0.0.1:0",
      MH_ADMIN_LISTEN: "127.0.0.1:0",
      MH_LOG_LEVEL: "error",
    };
    const clients: Client[] = [];
    for (const id of ["one", "two"]) {
      const manager = await createSandboxManager(readConfig({ ...env, MH_INSTANCE_ID: `${id}_${newId("mgr")}` }));
      stops.push(() => manager.stop());
      const client = createRpcClient(SandboxService, {
        address: manager.addresses.grpc ?? "",
        defaultDeadlineMs: CALL_MS,
      });
      stops.push(async () => client.close());
      clients.push(client);
    }
    const [first, second] = clients;
    if (!first || !second) throw new Error("no managers");
    const random = seededRandom(options.seed);
    const wrong: string[] = [];
    let moments = 0;
    for (let run = 0; run < runs; run++) {
      options.signal.throwIfAborted();
      const outcome = await history(first, second, random);
      moments += outcome.moments;
      if (outcome.problem) wrong.push(`${run}: ${outcome.problem}`);
      if (run % 20 === 19) options.progress(`fork-files: ${driver} ${run + 1} of ${runs}`);
    }
    return { name: driver, ok: wrong.length === 0, histories: runs, moments, wrong };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function history(first: Client, second: Client, random: Random): Promise<{ moments: number; problem: string }> {
  const origin = newId("sesn");
  const fork = newId("sesn");
  try {
    const handId = (await first.provision({ sessionId: origin })).hand?.id ?? "";
    const operations: string[] = [];
    const seen: { after: string[]; tree: string }[] = [];
    for (let step = between(random, 3, MOST_STEPS); step > 0; step--) {
      operations.unshift(await act(first, handId, randomStep(random)));
      seen.push({ after: [...operations], tree: await treeOf(first, handId) });
    }
    const moment = seen[between(random, 0, seen.length - 1)];
    const filesAfter = moment?.after ?? [];
    const made = await second.provision({ sessionId: fork, filesAfter });
    const tree = await treeOf(second, made.hand?.id ?? "");
    const problem =
      tree === moment?.tree ? "" : `after ${filesAfter.length} steps:\n${tree}\ninstead of\n${moment?.tree}`;
    return { moments: seen.length, problem };
  } finally {
    await first.release({ sessionId: origin });
    await second.release({ sessionId: fork });
  }
}

const names = ["a", "b.txt", "with space", "naïve", "deep/er/file", "deep/x", "run.sh", "lnk"] as const;
const places = ["/workspace", "/workspace", "/workspace/src", "/home/hand", "/mnt/session/outputs"] as const;

/** One command of one to three changes; failing is fine, it is only to leave some state behind. */
function randomStep(random: Random): string {
  const pick = <T>(list: readonly T[]): T | undefined => list[between(random, 0, list.length - 1)];
  const path = () => `'${pick(places)}/${pick(names)}'`;
  const one = (): string => {
    const file = path();
    const text = String(Math.floor(random() * 1e9));
    switch (between(random, 0, 9)) {
      case 0:
      case 1:
        return `mkdir -p "$(dirname ${file})"; rm -rf ${file}; printf '%s' ${text} > ${file}`;
      case 2:
        return `echo ${text} >> ${file}`;
      case 3:
        return `rm -rf ${file}`;
      case 4:
        return `mv ${file} ${path()}`;
      case 5:
        return `chmod ${pick(["600", "755", "444"])} ${file}`;
      case 6:
        return `ln -sfn ${path()} ${file}`;
      case 7:
        return `rm -f ${file}; mkdir -p ${file}/sub && printf ${text} > ${file}/sub/leaf`;
      case 8:
        return `head -c ${between(random, 0, 700_000)} /dev/urandom > ${file}`;
      default:
        return `cp -r ${file} ${path()}`;
    }
  };
  return `{ ${Array.from({ length: between(random, 1, 3) }, one).join("; ")}; } 2>/dev/null; true`;
}

const TREE = `cd / && for root in workspace home/hand mnt/session/outputs; do
  find $root -type f -exec sha256sum {} + ; find $root -type l -exec sh -c 'for l; do echo "$l -> $(readlink "$l")"; done' _ {} +
  find $root ! -path $root -exec stat -c '%n %f' {} +
done | sort`;

async function treeOf(client: Client, handId: string): Promise<string> {
  return (await call(client, handId, TREE)).content;
}

async function act(client: Client, handId: string, command: string): Promise<string> {
  return (await call(client, handId, command)).operationId;
}

async function call(client: Client, handId: string, command: string) {
  const operationId = newId("sevt");
  const inputJson = Buffer.from(JSON.stringify({ command }));
  for await (const { item } of client.execute({ handId, operationId, name: "bash", inputJson })) {
    if (item.case === "result") return { operationId, content: item.value.content };
  }
  throw new Error("an operation without a result");
}
