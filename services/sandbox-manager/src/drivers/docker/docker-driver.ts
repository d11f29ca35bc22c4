import { Socket } from "node:net";
import { AppError, type Logger, systemClock } from "@manyhands/kit";
import Docker from "dockerode";
import { createAgentHand } from "../../agent/agent-hand.ts";
import type { Driver, FoundHand, Hand, HandPlan, TunnelDialer } from "../driver.ts";
import { handLost } from "../hand-lost.ts";
import { ensureAgentVolume } from "./agent-volume.ts";
import { policyDrift } from "./assert-policy.ts";
import { plainStream } from "./attach-stream.ts";
import { checkoutPlan, containerName, containerSpec, LABEL } from "./container-spec.ts";
import { engineError, startContainer, statusOf, withNewContainer } from "./engine.ts";
import { writeGitConfig } from "./git-config.ts";
import { mountRepositories, sweepOverlays, unmountRepositories } from "./mounted-repositories.ts";
import { createOverlaySlots } from "./overlay-slots.ts";
import { createPackageImages } from "./package-images.ts";
import { CHECKOUT_MOUNT, createPreparedCheckouts } from "./prepared-checkouts.ts";
import { chooseRuntime } from "./runtime.ts";

const MS_PER_SECOND = 1000;
/** How long the agent of a container that is being started may take to answer. */
const START_MS = 60_000;
/** How long the engine's word about a start is waited for when the stream ended before it. */
const SETTLE_MS = 5000;
/** How many containers a hand is tried in when the engine does not start the one it made. */
const MAX_CONTAINERS = 2;

/** How the docker driver is made. */
export type DockerDriverOptions = {
  readonly socketPath: string;
  /** Image of hands whose recipe names none. */
  readonly image: string;
  /** The compiled in-hand agent on the manager's own disk. */
  readonly agentPath: string;
  /** Network of containers that install packages; default `bridge`. */
  readonly packageNetwork?: string;
  /** Names this manager to the agents. */
  readonly instance: string;
  /** Names the platform: containers of other platforms on the same engine are none of ours. */
  readonly platform: string;
  /** As the engine knows it; default: the engine's own choice. */
  readonly runtime?: string;
  readonly logger: Logger;
  readonly dial?: TunnelDialer;
};

/** Hands as containers with a resident agent. Resolves when the engine answers and knows the image; rejects in words otherwise. */
export async function createDockerDriver(options: DockerDriverOptions): Promise<Driver> {
  const { socketPath, image: defaultImage, agentPath, instance, platform, logger, dial } = options;
  const docker = new Docker({ socketPath });
  const info: unknown = await docker.info();
  const runtime = chooseRuntime(options.runtime ?? "", info);
  const place = `docker:${engineId(info)}:${platform}`;
  await docker.getImage(defaultImage).inspect();
  let volume: Promise<string> | undefined;
  const agentVolume = () => {
    volume ??= ensureAgentVolume(docker, defaultImage, agentPath).catch((error: unknown) => {
      volume = undefined;
      throw error;
    });
    return volume;
  };
  await agentVolume();
  const slots = createOverlaySlots(docker, defaultImage, place, logger);

  /**
   * `begin` is called once attached: a new container is started then, so no byte of it is missed. The handshake does
   * not wait for it: the agent answers as soon as it runs, well before the engine has said that it does.
   */
  const attachTo = async (
    plan: AttachPlan,
    begin?: () => Promise<void>,
    container = docker.getContainer(containerName(plan.handId)),
  ): Promise<Hand> => {
    const { handId, sessionId, attachEpoch } = plan;
    const handLogger = logger.child({ hand: handId });
    const hijacked = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    if (!(hijacked instanceof Socket)) throw AppError.internal(new TypeError("the engine gave no socket to attach by"));
    const stream = plainStream(hijacked, (text) => handLogger.warn({ text }, "the hand's agent said"));
    let begun: Promise<void> | undefined;
    try {
      begun = begin?.();
      const dialHere: (() => Promise<Socket>) | undefined = dial && (() => dial(sessionId, handId));
      const hand = createAgentHand({
        handId,
        stream,
        attachEpoch,
        instance,
        logger: handLogger,
        explainLoss: () => explainLoss(container),
        ...(begun ? { welcomeMs: START_MS, begun } : {}),
        ...(dialHere ? { dial: dialHere } : {}),
      });
      hand.catch(() => undefined); // where the start failed, that is the reason to tell
      return await (begun ? Promise.race([hand, begun.then(() => hand)]) : hand);
    } catch (error) {
      stream.destroy();
      // The engine ends the stream of a container that it did not start: that is the reason to tell.
      await Promise.race([begun, systemClock.sleep(SETTLE_MS)]);
      throw error;
    }
  };

  const checkouts = createPreparedCheckouts({
    docker,
    logger,
    async createContainer(name, volume) {
      const asked = containerSpec(checkoutPlan(name), defaultImage, await agentVolume(), place, [], runtime);
      const mount = { Type: "volume", Source: volume, Target: CHECKOUT_MOUNT } as const;
      const Mounts = [...(asked.HostConfig?.Mounts ?? []), mount];
      const Labels = { [LABEL.checkout]: place };
      return docker.createContainer({ ...asked, name, Labels, HostConfig: { ...asked.HostConfig, Mounts } });
    },
    createHelper: (volume) => neverStarted(docker, defaultImage, volume),
    async open(container, sessionId) {
      const hand = await attachTo(
        { handId: container.id, sessionId, attachEpoch: 1 },
        () => startContainer(container),
        container,
      );
      await writeGitConfig(hand);
      return hand;
    },
  });
  const mounting = { docker, checkouts, slots, logger };
  const packageImages = createPackageImages({ docker, logger, network: options.packageNetwork ?? "bridge" });

  const imageOf = async (plan: HandPlan): Promise<string> => {
    const base = plan.image || defaultImage;
    if (!plan.packages) return base;
    return packageImages.imageOf(base, plan.packages).catch((error: unknown) => {
      if (statusOf(error) === 404) throw noImage(base);
      throw engineError(error);
    });
  };

  const destroy = async (handId: string) => {
    try {
      await docker.getContainer(containerName(handId)).remove({ force: true, v: true });
    } catch (error) {
      const status = statusOf(error);
      if (status !== 404 && status !== 409) throw engineError(error); // 409: somebody else is removing it
    }
    await unmountRepositories(mounting, handId);
  };

  const resume = async (handId: string) => {
    await docker.getContainer(containerName(handId)).unpause().catch(unlessAlready);
  };

  const provisionOnce = async (plan: HandPlan): Promise<Hand> => {
    const image = await imageOf(plan);
    const { mounts, problems } = await mountRepositories(mounting, plan);
    const asked = containerSpec(plan, image, await agentVolume(), place, mounts, runtime);
    const spec = { ...asked, Labels: { ...asked.Labels, [LABEL.maker]: instance } };
    const container = docker.getContainer(containerName(plan.handId));
    try {
      await docker.createContainer(spec);
    } catch (error) {
      // Created by an earlier attempt whose answer was lost: it carries our id and is checked like a new one.
      if (statusOf(error) === 404 && !plan.packages) throw noImage(image);
      if (statusOf(error) !== 409) throw engineError(error);
    }
    try {
      const inspected = container.inspect(); // while it is attached to; it starts only when it is as asked
      inspected.catch(() => undefined);
      let begun: Promise<void> | undefined;
      const hand = await attachTo(plan, () => {
        begun = inspected.then(async (made) => {
          assertPolicy(spec, made);
          await startContainer(container);
        });
        return begun;
      });
      await Promise.all([begun, writeGitConfig(hand)]);
      return { ...hand, problems };
    } catch (error) {
      volume = undefined; // should the volume have been pruned, the next attempt fills a new one
      checkouts.forget();
      await destroy(plan.handId).catch((e: unknown) =>
        logger.warn({ err: e, hand: plan.handId }, "a failed hand is left behind"),
      );
      throw error;
    }
  };

  return {
    name: "docker",
    notIsolated: runtime.notIsolated,
    survivesManager: true,
    mounts: true,
    hasImages: true,
    place,
    /** Nothing has run in a hand that was not answered yet: it may be made from the beginning. */
    async provision(plan: HandPlan) {
      try {
        return await withNewContainer(MAX_CONTAINERS, logger, () => provisionOnce(plan));
      } catch (error) {
        throw engineError(error);
      }
    },
    async adopt(handId, attachEpoch) {
      let found: Docker.ContainerInspectInfo;
      try {
        found = await docker.getContainer(containerName(handId)).inspect();
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw engineError(error);
      }
      if (!found.State.Running) return undefined;
      if (found.State.Paused) await resume(handId);
      return attachTo({ handId, sessionId: found.Config.Labels[LABEL.session] ?? "", attachEpoch });
    },
    destroy,
    async pause(handId) {
      await docker.getContainer(containerName(handId)).pause().catch(unlessAlready);
    },
    resume,
    async list() {
      const containers = await docker
        .listContainers({ all: true, filters: { label: [LABEL.hand, `${LABEL.place}=${place}`] } })
        .catch((error: unknown) => {
          throw engineError(error);
        });
      void sweepOverlays(mounting, new Set(containers.map((container) => container.Labels[LABEL.hand] ?? ""))).catch(
        (error: unknown) => logger.warn({ err: error }, "overlays of gone hands are left behind"),
      );
      packageImages.prune();
      return containers.map(
        (container): FoundHand => ({
          handId: container.Labels[LABEL.hand] ?? "",
          sessionId: container.Labels[LABEL.session] ?? "",
          createdAtMs: container.Created * MS_PER_SECOND,
          running: container.State === "running" || container.State === "paused",
          maker: container.Labels[LABEL.maker] ?? "",
        }),
      );
    },
    close: () => slots.close(),
  };
}

/** Looked into by the engine alone: its program does not exist. */
function neverStarted(docker: Docker, image: string, volume: string): Promise<Docker.Container> {
  return docker.createContainer({
    Image: image,
    Entrypoint: ["/never-started"],
    NetworkDisabled: true,
    HostConfig: { NetworkMode: "none", Mounts: [{ Type: "volume", Source: volume, Target: CHECKOUT_MOUNT }] },
  });
}

type AttachPlan = Pick<HandPlan, "handId" | "sessionId" | "attachEpoch">;

function assertPolicy(asked: Docker.ContainerCreateOptions, made: Docker.ContainerInspectInfo): void {
  const drift = policyDrift(asked, made);
  if (drift.length === 0) return;
  const message = `the engine made another container than asked: ${drift.join(", ")}`;
  throw AppError.unavailable("HAND_POLICY_DRIFT", message);
}

/** OOM flags of the engine are a hint, not proof (they miss kills of children); they are told as such. */
async function explainLoss(container: Docker.Container): Promise<string> {
  try {
    const { State: state } = await container.inspect();
    if (state.Running) return "the engine dropped the hand's stream while its container still runs";
    const oom = state.OOMKilled ? ", the engine counts an out-of-memory kill" : "";
    return `the hand's container ended (exit code ${state.ExitCode}${oom})`;
  } catch (error) {
    return statusOf(error) === 404 ? "the hand's container was removed" : "the engine does not answer any more";
  }
}

/** Pausing what stands still already, and resuming what runs, is refused as 409 by newer engines and 500 by older ones. */
function unlessAlready(error: unknown): void {
  const text = error instanceof Error ? error.message : "";
  if (statusOf(error) === 409 || /is (already|not) paused/.test(text)) return;
  if (statusOf(error) === 404) throw handLost("the hand's container was removed", error);
  throw engineError(error);
}

function noImage(image: string): AppError {
  return AppError.invalid([{ field: "recipe.image", description: `the engine has no image ${image}` }]);
}

function engineId(info: unknown): string {
  if (typeof info === "object" && info !== null && "ID" in info && typeof info.ID === "string") return info.ID;
  return "unknown";
}
