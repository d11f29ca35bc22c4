/** Repositories in a hand: for each an overlay volume of the prepared checkout below and the hand's slot above. */
import { type Logger, systemClock } from "@manyhands/kit";
import type Docker from "dockerode";
import type { RecipeProblem } from "../../recipe/recipe-repository.ts";
import { problemOf } from "../../recipe/resolve-repositories.ts";
import type { HandPlan, PlannedRepository } from "../driver.ts";
import { LABEL } from "./container-spec.ts";
import { engineError } from "./engine.ts";
import type { OverlaySlots, Slot } from "./overlay-slots.ts";
import type { createPreparedCheckouts, Prepared } from "./prepared-checkouts.ts";

/** Where in a hand the checkouts lie that its overlays stand on: held here, so that the engine does not remove them. */
const HELD = "/.manyhands/checkouts";

/** What a container is given besides what every hand has. */
export type HandMounts = {
  readonly mounts: readonly Docker.MountSettings[];
  readonly problems: readonly RecipeProblem[];
};

/** A hand without repositories. */
export const NO_MOUNTS: HandMounts = { mounts: [], problems: [] };

/** What mounting needs. */
export type Mounting = {
  readonly docker: Docker;
  readonly checkouts: ReturnType<typeof createPreparedCheckouts>;
  readonly slots: OverlaySlots;
  readonly logger: Logger;
};

/**
 * Prepares what is missing and makes the volumes. A repository that cannot be had is a problem, not a failure; what the
 * engine refuses is an AppError, and leaves nothing.
 */
export async function mountRepositories(mounting: Mounting, plan: HandPlan): Promise<HandMounts> {
  const { docker, slots } = mounting;
  const problems: RecipeProblem[] = [];
  const ready: Ready[] = [];
  await Promise.all(
    (plan.repositories ?? []).map(async (repository) => {
      try {
        ready.push({ repository, prepared: await mounting.checkouts.prepare(repository, plan.sessionId) });
      } catch (error) {
        mounting.logger.warn({ err: error, session: plan.sessionId }, "a repository is not mounted");
        problems.push(problemOf(repository, error));
      }
    }),
  );
  if (ready.length === 0) return { ...NO_MOUNTS, problems };
  try {
    const slot = await slots.take(plan.limits.workspaceBytes, ready.length);
    const named = ready.map((one, index) => ({ ...one, index, name: overlayName(slot.id, index) }));
    try {
      await Promise.all(named.map((one) => makeOverlay(docker, plan.handId, slot, one)));
    } catch (error) {
      for (const { name } of named) await quietly(docker.getVolume(name).remove());
      await slots.remove(slot.id);
      throw error;
    }
    return { mounts: named.flatMap(mountsOf), problems };
  } catch (error) {
    throw engineError(error);
  }
}

type Overlay = Ready & { readonly index: number; readonly name: string };
type Ready = { readonly repository: PlannedRepository; readonly prepared: Prepared };

async function makeOverlay(docker: Docker, handId: string, slot: Slot, { name, index, prepared }: Overlay) {
  const layers = `lowerdir=${prepared.lower},upperdir=${slot.upper(index)},workdir=${slot.work(index)}`;
  await docker.createVolume({
    Name: name,
    DriverOpts: { type: "overlay", device: "overlay", o: `${layers},nosuid,nodev` },
    Labels: { [LABEL.slot]: slot.id, [LABEL.hand]: handId },
  });
}

function mountsOf({ name, index, repository, prepared }: Overlay): Docker.MountSettings[] {
  return [
    { Type: "volume", Source: name, Target: repository.mountPath, VolumeOptions: NO_COPY },
    { Type: "volume", Source: prepared.volume, Target: `${HELD}/${index}`, ReadOnly: true, VolumeOptions: NO_COPY },
  ];
}

/** The engine shall not fill a volume from what the image has at its place. */
const NO_COPY = { NoCopy: true, Labels: {}, DriverConfig: { Name: "", Options: {} } };

/** Removes a gone hand's overlays and its slot; fine when it had none. */
export async function unmountRepositories(mounting: Pick<Mounting, "docker" | "slots">, handId: string): Promise<void> {
  await removeOverlays(mounting, [`${LABEL.hand}=${handId}`], () => true);
}

/** Removes the overlays whose hands are gone. `hands` are those that exist; what is young may be in the making. */
export async function sweepOverlays(
  mounting: Pick<Mounting, "docker" | "slots">,
  hands: ReadonlySet<string>,
): Promise<void> {
  const isOrphan = (handId: string, ageMs: number) => !hands.has(handId) && ageMs > ORPHAN_MS;
  const left = await removeOverlays(mounting, [LABEL.slot, LABEL.hand], isOrphan);
  await mounting.slots.sweep(left);
}

const ORPHAN_MS = 15 * 60_000;

/** Answers the slots of those that stay. */
async function removeOverlays(
  { docker, slots }: Pick<Mounting, "docker" | "slots">,
  label: string[],
  isWanted: (handId: string, ageMs: number) => boolean,
): Promise<ReadonlySet<string>> {
  const left = new Set<string>();
  const gone = new Set<string>();
  const { Volumes } = await docker.listVolumes({ filters: { label } });
  for (const volume of Volumes ?? []) {
    const slotId = volume.Labels[LABEL.slot] ?? "";
    if (!isWanted(volume.Labels[LABEL.hand] ?? "", ageMs(volume))) {
      left.add(slotId);
      continue;
    }
    await quietly(docker.getVolume(volume.Name).remove());
    gone.add(slotId);
  }
  for (const slotId of gone) await slots.remove(slotId);
  return left;
}

/** Gone already. */
async function quietly(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined);
}

function ageMs(volume: object): number {
  const at = "CreatedAt" in volume && typeof volume.CreatedAt === "string" ? Date.parse(volume.CreatedAt) : Number.NaN;
  return Number.isNaN(at) ? 0 : systemClock.nowMs() - at;
}

function overlayName(slotId: string, index: number): string {
  return `${slotId}-${index}`;
}
