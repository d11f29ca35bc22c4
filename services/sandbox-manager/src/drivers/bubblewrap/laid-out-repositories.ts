/**
 * Repositories in hands without an engine. A checkout is made once per commit, in a hand of its own that is given the
 * folder to fill. Later hands are shown it read-only and copy the files into the workspace, whose bound holds for them
 * too; what is large and never changes, git's objects, is not copied but stays where it is, as an alternate.
 */
import { chmod, chown, mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, newId } from "@manyhands/kit";
import { RepositoryError } from "../../recipe/read-refs.ts";
import type { RecipeProblem } from "../../recipe/recipe-repository.ts";
import { problemOf } from "../../recipe/resolve-repositories.ts";
import { type Checkout, checkoutKey, cloneInto, perform } from "../clone-checkout.ts";
import type { Hand, HandPlan, PlannedRepository } from "../driver.ts";
import type { Bind } from "./bwrap-arguments.ts";

const MAX_CHECKOUTS = 16;
/** They lie where the hands lie, by default in memory. */
const MAX_CHECKOUT_KIB = 1024 * 1024;
/** One that is being made for longer was left by a crash. */
const ORPHAN_MS = 60 * 60_000;
const MAKING = ".making-";
const FILL = "/.manyhands/checkouts/new";
const SHOWN = "/.manyhands/checkouts";

/** A checkout that is ready for a hand. */
export type Ready = { readonly repository: PlannedRepository; readonly key: string; readonly bind: Bind };

/** What laying out needs of the driver. */
export type CheckoutPorts = {
  /** The folder they lie in. */
  readonly root: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes a hand for git alone that may fill the folder, and ends it when `work` is done. */
  withHand(folder: Bind, sessionId: string, work: (hand: Hand) => Promise<void>): Promise<void>;
  /** Checkouts that hands stand on. */
  inUse(): Promise<ReadonlySet<string>>;
};

/** The checkouts of one place. */
export function createLaidOutRepositories(ports: CheckoutPorts) {
  const making = new Map<string, Promise<void>>();
  return {
    /** Makes what is missing. A repository that cannot be had is a problem, not a failure. */
    async prepare(plan: HandPlan): Promise<{ ready: readonly Ready[]; problems: readonly RecipeProblem[] }> {
      const ready: Ready[] = [];
      const problems: RecipeProblem[] = [];
      for (const repository of plan.repositories ?? []) {
        const key = checkoutKey(repository);
        const mine =
          making.get(key) ?? ensure(ports, key, repository, plan.sessionId).finally(() => making.delete(key));
        making.set(key, mine);
        try {
          await mine;
          ready.push({ repository, key, bind: { from: join(ports.root, key), to: `${SHOWN}/${key}` } });
        } catch (error) {
          ports.logger.warn({ err: error, session: plan.sessionId }, "a repository is not laid out");
          problems.push(problemOf(repository, error));
        }
      }
      return { ready, problems };
    },
    /** Copies the files to their places in a new hand; answers what did not fit. */
    async layOut(hand: Hand, ready: readonly Ready[]): Promise<readonly RecipeProblem[]> {
      const problems: RecipeProblem[] = [];
      for (const { repository, key } of ready) {
        const argv = ["/bin/sh", "-c", LAY_OUT, "lay-out", `${SHOWN}/${key}/tree`, repository.mountPath];
        const { exitCode, words } = await perform(hand, `lay-out-${key}`, { kind: "exec", argv, cwd: "/" });
        if (exitCode === 0) continue;
        const why = `it could not be laid out at ${repository.mountPath}: ${words || `exit code ${exitCode}`}`;
        problems.push(problemOf(repository, new RepositoryError("repository_clone_error", why)));
      }
      return problems;
    },
  };
}

async function ensure(ports: CheckoutPorts, key: string, checkout: Checkout, sessionId: string): Promise<void> {
  const { root, clock } = ports;
  const there = join(root, key);
  const now = new Date(clock.nowMs());
  if (await isThere(there)) return utimes(there, now, now);
  const folder = join(root, `${key}${MAKING}${newId("new")}`);
  await mkdir(folder, { mode: 0o755 });
  try {
    await ports.withHand({ from: folder, to: FILL, isWritable: true }, sessionId, async (hand) => {
      await cloneInto(hand, checkout, `${FILL}/tree`, MAX_CHECKOUT_KIB);
      const argv = ["/bin/sh", "-c", SHARE, "share", FILL, `${SHOWN}/${key}`];
      const { exitCode, words } = await perform(hand, "prepare-share", { kind: "exec", argv, cwd: "/" });
      if (exitCode !== 0) throw new RepositoryError("repository_clone_error", words || "it could not be prepared");
    });
    await closeFolder(folder);
    await rename(folder, there);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (!(await isThere(there))) throw error; // another manager was faster
  }
  prune(ports, key).catch((error: unknown) => ports.logger.warn({ err: error }, "old checkouts could not be removed"));
}

/** The folder itself was the filling hand's; nobody's number shall be able to change it from here on. */
async function closeFolder(folder: string): Promise<void> {
  await chown(folder, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  await chmod(folder, 0o755);
}

async function prune({ root, clock, logger, inUse }: CheckoutPorts, newest: string): Promise<void> {
  const used = await inUse();
  const found = await Promise.all(
    (await readdir(root)).map(async (name) => ({ name, atMs: (await stat(join(root, name))).mtimeMs })),
  );
  const left = found.filter(({ name, atMs }) => name.includes(MAKING) && clock.nowMs() - atMs > ORPHAN_MS);
  const made = found.filter(({ name }) => !name.includes(MAKING));
  const free = made.filter(({ name }) => name !== newest && !used.has(name)).sort((a, b) => a.atMs - b.atMs);
  for (const { name } of [...left, ...free.slice(0, Math.max(0, made.length - MAX_CHECKOUTS))]) {
    logger.info({ checkout: name }, "a prepared checkout is removed: too many, or half made");
    await rm(join(root, name), { recursive: true, force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Apart from the tree: later hands find the objects where they are shown them, not in their copies. */
const SHARE = `
cd "$1" && mv tree/.git/objects objects && mkdir -p tree/.git/objects/info tree/.git/objects/pack &&
echo "$2/objects" > tree/.git/objects/info/alternates 2>&1
`;

/** A place that was laid out before (the answer was lost) is left as it is. */
const LAY_OUT = `
[ -e "$2/.git" ] && exit 0
mkdir -p "$2" && cp -a "$1/." "$2/" && exit 0
rm -rf "$2"
exit 1
`;
