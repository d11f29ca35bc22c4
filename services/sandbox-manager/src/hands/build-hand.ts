/** From a recipe to a running hand with everything in it: the one way, for sessions and for the warm pool. */
import { AppError } from "@manyhands/kit";
import type { Driver, Hand, PlannedRepository, WriteAction } from "../drivers/driver.ts";
import type { HandEgress } from "../egress/hand-egress.ts";
import type { Recipe } from "./hand-record.ts";

const FILE_MS = 30_000;
const FILE_MODE = 0o644;

/** For whom a hand is built; a warm one has no session yet. */
export type Build = {
  readonly handId: string;
  readonly sessionId: string;
  readonly name: string;
  readonly generation: number;
  readonly recipe: Recipe;
};

/** The drivers that work here. */
export type DriversHere = { readonly drivers: ReadonlyMap<string, Driver>; readonly defaultDriver: string };

/** The driver a recipe asks for, or the default. Throws INVALID when it does not work here. */
export function driverOf(here: DriversHere, recipe: Recipe): Driver {
  const name = recipe.driver || here.defaultDriver;
  const driver = here.drivers.get(name);
  if (driver) return driver;
  const there = [...here.drivers.keys()].join(", ");
  throw AppError.invalid([
    { field: "recipe.driver", description: `${name} is not available here; there are ${there}` },
  ]);
}

/** Makes the hand and puts the recipe's files into it. On failure nothing is left but what a sweep finds. */
export async function buildHand(driver: Driver, build: Build, egress?: HandEgress): Promise<Hand> {
  const { handId, sessionId, name, generation, recipe } = build;
  const hand = await driver.provision({
    handId,
    sessionId,
    name,
    generation,
    image: recipe.image,
    limits: recipe,
    env: { ...recipe.env, ...egress?.env },
    ...(recipe.packages ? { packages: recipe.packages } : {}),
    repositories: mountedOf(recipe),
    attachEpoch: 1,
  });
  try {
    if (egress) await writeBundle(hand, egress);
    await writeFiles(hand, recipe);
  } catch (error) {
    await driver.destroy(handId).catch(() => undefined); // the sweep finds what is left
    throw error;
  }
  return hand;
}

function mountedOf({ repositories }: Recipe): PlannedRepository[] {
  return repositories.flatMap(({ commit, ...repository }) =>
    repository.mountPath !== "" && commit !== undefined ? [{ ...repository, commit }] : [],
  );
}

async function writeBundle(hand: Hand, { bundle }: HandEgress): Promise<void> {
  const errno = await writeFile(hand, "manyhands-egress-authority", { ...bundle, mode: FILE_MODE });
  if (errno !== 0) {
    throw AppError.unavailable("HAND_UNUSABLE", `${bundle.path} could not be written in the hand (errno ${errno})`);
  }
}

async function writeFiles(hand: Hand, recipe: Recipe): Promise<void> {
  for (const [index, file] of recipe.files.entries()) {
    const path = file.path.startsWith("/") ? file.path : `/workspace/${file.path}`;
    const content = Buffer.from(file.contentBase64, "base64");
    const errno = await writeFile(hand, `recipe-file-${index}`, { path, content, mode: file.mode || FILE_MODE });
    if (errno !== 0) {
      const description = `${path} could not be written (errno ${errno})`;
      throw AppError.invalid([{ field: `recipe.files[${index}].path`, description }]);
    }
  }
}

/** Writes one file; answers 0 or an errno. */
async function writeFile(hand: Hand, id: string, file: Omit<WriteAction, "kind">): Promise<number> {
  const action = { kind: "write", ...file } as const;
  const started = await hand.start({ id, inputHash: new Uint8Array(32), timeoutMs: FILE_MS, action });
  for await (const part of started.parts) {
    if (part.type === "exit") return part.state.exitCode ?? -1;
  }
  return -1;
}
