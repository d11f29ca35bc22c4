/** A mounted repository of 1 500 files, and the snapshot after a small change in it. */
import { newId, testServiceConfig } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { findDockerEngine, SetupError } from "@manyhands/local";
import { createSandboxManager, readConfig } from "@manyhands/sandbox-manager";
import { eventually, startGitServer, startNatsServer } from "@manyhands/testkit";
import { readRefs } from "../../services/sandbox-manager/src/recipe/read-refs.ts";
import { dialTo, smallGitProxy } from "../../services/sandbox-manager/src/testing/git-way-out.ts";
import { executeCall } from "../../services/sandbox-manager/src/testing/manager-process.ts";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../../services/sandbox-manager/src/testing/test-images.ts";
import { sandboxesAt } from "./support/hands-rig.ts";
import { repositoryContent, repositoryFiles } from "./support/repository.ts";
import { type Row, timed, timeRow } from "./support/rows.ts";
import { median } from "./support/statistics.ts";

const leastRounds = 5;
const perRound = 3;
const changes = 20;

/** Runs the benchmark. */
export default async function filesBench({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const bed = await startBed();
  try {
    const { client, url } = bed;
    const repositories = [{ url, mountPath: "/workspace/repo" }];
    const samples = { plain: [] as number[], mounted: [] as number[], refs: [] as number[] };
    const once = async (into: number[], recipe: object) => {
      const sessionId = newId("sesn");
      into.push(
        await timed(async () => {
          const { hand } = await client.provision({ sessionId, recipe });
          if (!hand || hand.problems.length > 0) throw new Error(`not mounted: ${hand?.problems[0]?.message}`);
        }),
      );
      await client.release({ sessionId });
    };
    await once([], { repositories }); // prepares the checkout
    await once([], {});
    for (let round = 0; round < rounds * perRound; round++) {
      await bed.isSpareReady();
      await once(samples.mounted, { repositories });
      await bed.isSpareReady();
      await once(samples.plain, {});
      samples.refs.push(await timed(() => bed.refs()));
    }
    const [mounted, plain, refs] = [median(samples.mounted), median(samples.plain), median(samples.refs)];
    const ours = mounted - plain - refs;
    const spread = `${mounted.toFixed(0)} ms with, ${plain.toFixed(0)} ms without, ${refs.toFixed(0)} ms at the git host`;
    const note = `provision with a mounted repository of ${repositoryFiles} files, less one without, less asking the git host which commit (${spread}); floor: provision without`;
    const mount: Row = { name: "repo_mount", unit: "ms p50", ours, floor: plain, ratio: ours / plain, note };
    return { bench: "files", rounds, rows: [mount, await snapshotRow(bed, repositories)] };
  } finally {
    await bed.stop();
  }
}

type Bed = Awaited<ReturnType<typeof startBed>>;

/** From the answer of an operation that changed one small file to its snapshot being kept. */
async function snapshotRow({ client, manager }: Bed, repositories: object[]): Promise<Row> {
  const sessionId = newId("sesn");
  const { hand } = await client.provision({ sessionId, recipe: { repositories } });
  const handId = hand?.id ?? "";
  const ours: number[] = [];
  const floor: number[] = [];
  for (let change = 0; change <= changes; change++) {
    const input = { command: `echo ${change} >> /workspace/repo/dir1/file1.txt` };
    const call = await timed(async () => {
      const { result } = await executeCall(client, { handId, input });
      if (result.isError) throw new Error(result.content);
    });
    const snapshot = await timed(async () => manager.snapshots?.settled(handId));
    if (change === 0) continue;
    floor.push(call);
    ours.push(snapshot);
  }
  await client.release({ sessionId });
  const note = `one line changed in a repository of ${repositoryFiles} files, kept durably; floor: the tool call that changed it`;
  return timeRow("snapshot", ours, floor, note);
}

async function startBed() {
  const engine = await findDockerEngine();
  if (!engine.answers)
    throw new SetupError(`hands are measured on a Docker Engine: ${engine.reason}`, { advice: "Start one." });
  const { docker, socket } = engine;
  await ensureTestImages(docker);
  const nats = await startNatsServer({ syncAlways: true });
  const git = await startGitServer({ repositories: { big: repositoryContent() } });
  const proxy = await smallGitProxy(git, "none");
  const env = {
    MH_NATS_URL: nats.url,
    MH_HAND_DRIVER: "docker",
    MH_DOCKER_SOCKET: socket,
    MH_HAND_IMAGE: DEBIAN_IMAGE,
    MH_HAND_AGENT: await agentBinary(),
    MH_HAND_POOL_SIZE: "0",
    MH_HAND_ON_STOP: "release",
  };
  const dial = dialTo(proxy.port, "MANYHANDS/1 bench\r\n");
  const running = await createSandboxManager(
    { ...readConfig(env), service: testServiceConfig() },
    { overrides: { dial } },
  );
  const place = running.deps.manager.drivers.get("docker")?.place ?? "";
  const client = sandboxesAt(running.addresses.grpc ?? "");
  return {
    client,
    manager: running.deps.manager,
    url: git.repoUrl("big"),
    /** What a provisioning asks the git host. */
    refs: () => readRefs(git.repoUrl("big"), () => dial("sesn_bench", "hand_bench")),
    /** Room for the next repository is made in the background; no measurement begins before it is there. */
    isSpareReady: () =>
      eventually(async () => {
        const slots = await docker.listContainers({
          filters: { label: [`dev.manyhands.slot=${place}`], status: ["running"] },
        });
        return slots.length > 0;
      }),
    async stop() {
      client.close();
      await running.stop("the benchmark is over");
      proxy.server.close();
      await git.stop();
      await nats.stop();
    },
  };
}
