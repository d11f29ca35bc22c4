import { randomInt } from "node:crypto";
import { chown, readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { AppError, type Clock, type Logger, newId, toAppError } from "@manyhands/kit";
import { createAgentHand } from "../../agent/agent-hand.ts";
import { RepositoryError } from "../../recipe/read-refs.ts";
import { checkoutPlan } from "../docker/container-spec.ts";
import { writeGitConfig } from "../docker/git-config.ts";
import type { Driver, FoundHand, Hand, HandPlan, TunnelDialer } from "../driver.ts";
import { handLost } from "../hand-lost.ts";
import { type Bind, bwrapArguments } from "./bwrap-arguments.ts";
import { type Controller, makeCgroups, removeCgroups } from "./cgroups.ts";
import { type HandNote, makeHandFolder, openFolders, readNote, removeHandFolder } from "./hand-folder.ts";
import { connectKeeper, endKeeper, keeperPid, lastWords, startKeeper } from "./keeper-process.ts";
import { createLaidOutRepositories } from "./laid-out-repositories.ts";
import { inspectMachine } from "./machine.ts";
import { checkPolicy } from "./policy.ts";

/** Above all numbers that distributions and systemd hand out to users and containers, below the 31st bit. */
const FIRST_BASE = 1_879_048_192;
const BASES = 100_000_000;
/** One that makes a checkout is older than this only when its manager is gone: it is told as a hand that nobody wants. */
const HELPER_MS = 15 * 60_000;
const MIB = 1024 * 1024;
const TRIAL = { memoryBytes: 64 * MIB, cpuMillis: 1000, workspaceBytes: MIB, pids: 32 };

/** How the bubblewrap driver is made. */
export type BubblewrapDriverOptions = {
  /** The folder hands live in, on a local file system that outlives managers. */
  readonly stateDir: string;
  /** The compiled in-hand agent. */
  readonly agentPath: string;
  readonly instance: string;
  readonly platform: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dial?: TunnelDialer;
};

type Extras = {
  readonly binds: readonly Bind[];
  readonly checkouts?: readonly string[];
  readonly isHelper?: boolean;
};

/** What no bubblewrap hand keeps apart. */
export const BUBBLEWRAP_NOT_ISOLATED = [
  "the kernel is shared with this machine (no virtual machine in between)",
  "the programs and libraries of this machine (/usr) can be read and run",
  "CPU caches and timing are shared with other hands",
] as const;

const MISSING_WORDS: Record<Controller, string> = {
  memory: "memory is limited for each process and each file system, not for the hand as a whole (no cgroup to be had)",
  pids: "processes are limited for each user, not by a cgroup",
  cpu: "processor time is not limited (no cgroup to be had)",
};
const ONE_NUMBER =
  "tools run under the same user as the hand's own agent (only root can give a hand numbers of its own): a tool can disturb its own hand's agent, though not read or end it, and change files it was given to read";

/**
 * Hands as namespaces of this machine: real programs, no engine. A trial hand is made, and its policy checked from
 * the inside, before the driver answers; rejects in words when anything of it is refused here.
 */
export async function createBubblewrapDriver(options: BubblewrapDriverOptions): Promise<Driver> {
  const { stateDir, agentPath, instance, platform, clock, logger, dial } = options;
  const ownNumbers = process.getuid?.() === 0;
  const folders = await openFolders(stateDir, platform, agentPath);
  const machine = await inspectMachine();
  let missing: readonly Controller[] = [];

  const attachTo = async (note: HandNote, attachEpoch: number): Promise<Hand | undefined> => {
    const { handId, sessionId } = note;
    const folder = folders.of(handId);
    const stream = await connectKeeper(folder);
    if (!stream) return undefined;
    const dialHere = dial && (() => dial(sessionId, handId));
    return createAgentHand({
      handId,
      stream,
      attachEpoch,
      instance,
      logger: logger.child({ hand: handId }),
      explainLoss: () => explainLoss(folder, note),
      ...(dialHere ? { dial: dialHere } : {}),
    }).catch(async (error: unknown) => {
      stream.destroy();
      const failure = toAppError(error);
      throw failure.reason === "HAND_LOST" ? handLost(await explainLoss(folder, note), error) : failure;
    });
  };

  const destroy = async (handId: string) => {
    const folder = folders.of(handId);
    await endKeeper(folder);
    const note = await readNote(folder);
    if (note) await removeCgroups(note.cgroups);
    await removeHandFolder(folder);
  };

  const make = async (plan: HandPlan, { binds, checkouts = [], isHelper = false }: Extras): Promise<Hand> => {
    const folder = folders.of(plan.handId);
    const earlier = await readNote(folder);
    if (earlier && (await keeperPid(folder)) !== undefined) {
      const hand = await attachTo(earlier, plan.attachEpoch); // made by an attempt whose answer was lost
      if (hand) return hand;
    }
    await destroy(plan.handId);
    const groups = await makeCgroups(`manyhands-${plan.handId}`, plan.limits);
    missing = groups.missing;
    const base = ownNumbers ? FIRST_BASE + 2 * randomInt(BASES) : 0;
    const note = {
      handId: plan.handId,
      sessionId: plan.sessionId,
      createdAtMs: clock.nowMs(),
      base,
      cgroups: groups.folders,
      checkouts,
      isHelper,
    };
    await makeHandFolder(folder, note);
    if (base > 0) for (const { from, isWritable } of binds) if (isWritable) await chown(from, base + 1, base + 1);
    const bwrap = bwrapArguments({
      plan,
      machine,
      agent: folders.agent,
      etcFolder: folders.etc,
      ownNumbers,
      memoryGroup: groups.memory,
      binds,
      processBytes: missing.includes("memory") ? plan.limits.memoryBytes : undefined,
    });
    const enter = groups.folders.flatMap((group) => ["--cgroup", join(group, "cgroup.procs")]);
    const map = base > 0 ? ["--map", String(base)] : [];
    await startKeeper(folders.agent, folder, [...map, ...enter, "--", "bwrap", ...bwrap]);
    const hand = await attachTo(note, plan.attachEpoch);
    if (!hand) throw handLost(await explainLoss(folder, note));
    await writeGitConfig(hand);
    return hand;
  };

  /** What cannot be made leaves nothing. */
  const orNothing = async <T>(handId: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      await destroy(handId).catch((e: unknown) =>
        logger.warn({ err: e, hand: handId }, "a failed hand is left behind"),
      );
      if (error instanceof AppError || error instanceof RepositoryError) throw error;
      const text = error instanceof Error ? error.message : String(error);
      throw AppError.unavailable("HAND_UNUSABLE", `bubblewrap: ${text}`, error);
    }
  };

  const repositories = createLaidOutRepositories({
    root: folders.checkouts,
    clock,
    logger,
    async withHand(bind, sessionId, work) {
      const plan = { ...checkoutPlan(newId("hand")), sessionId };
      await orNothing(plan.handId, async () => work(await make(plan, { binds: [bind], isHelper: true })));
      await destroy(plan.handId);
    },
    inUse: async () => new Set((await folders.list()).flatMap((note) => note.checkouts ?? [])),
  });

  const provision = async (plan: HandPlan): Promise<Hand> => {
    if (plan.image) {
      const description = "the bubblewrap driver has no images, it shows the programs of its machine; leave it empty";
      throw AppError.invalid([{ field: "recipe.image", description }]);
    }
    const { ready, problems } = await repositories.prepare(plan);
    return orNothing(plan.handId, async () => {
      const hand = await make(plan, { binds: ready.map(({ bind }) => bind), checkouts: ready.map(({ key }) => key) });
      return { ...hand, problems: [...problems, ...(await repositories.layOut(hand, ready))] };
    });
  };

  await tryOne(provision, destroy, ownNumbers);
  const notIsolated = [
    ...BUBBLEWRAP_NOT_ISOLATED,
    ...missing.map((controller) => MISSING_WORDS[controller]),
    ...(ownNumbers ? [] : [ONE_NUMBER]),
  ];
  return {
    name: "bubblewrap",
    notIsolated,
    survivesManager: true,
    mounts: true,
    place: `bubblewrap:${hostname()}:${await bootId()}:${platform}`,
    provision,
    async adopt(handId, attachEpoch) {
      const note = await readNote(folders.of(handId));
      return note && attachTo(note, attachEpoch);
    },
    destroy,
    async list() {
      const isBusy = (note: HandNote) => note.isHelper && clock.nowMs() - note.createdAtMs < HELPER_MS;
      const notes = (await folders.list()).filter((note) => !isBusy(note));
      return Promise.all(
        notes.map(async ({ handId, sessionId, createdAtMs }): Promise<FoundHand> => {
          const running = (await keeperPid(folders.of(handId))) !== undefined;
          return { handId, sessionId, createdAtMs, running };
        }),
      );
    },
    async close() {},
  };
}

/** What is refused on this machine is found out now, not with the first tool call. */
async function tryOne(
  provision: (plan: HandPlan) => Promise<Hand>,
  destroy: (handId: string) => Promise<void>,
  ownNumbers: boolean,
): Promise<void> {
  const handId = newId("hand");
  const plan = { handId, sessionId: "trial", name: "trial", generation: 1, image: "", env: {}, attachEpoch: 1 };
  try {
    const hand = await provision({ ...plan, limits: TRIAL });
    const broken = await checkPolicy(hand, ownNumbers);
    await hand.detach();
    if (broken.length > 0) throw new Error(`hands would be weaker than their policy: ${broken.join("; ")}`);
  } finally {
    await destroy(handId);
  }
}

async function explainLoss(folder: string, { cgroups }: HandNote): Promise<string> {
  const memory = cgroups.map((group) => readFile(join(group, "memory.events"), "utf8"));
  const memory1 = cgroups.map((group) => readFile(join(group, "memory.oom_control"), "utf8"));
  const counts = (await Promise.allSettled([...memory, ...memory1])).map((read) =>
    read.status === "fulfilled" ? Number(/^oom_kill (\d+)/m.exec(read.value)?.[1] ?? 0) : 0,
  );
  const oom = counts.some((count) => count > 0) ? ", the kernel counts an out-of-memory kill in it" : "";
  const words = await lastWords(folder);
  return `the hand's processes ended${words ? ` (${words})` : ""}${oom}`;
}

async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}
