/**
 * Pushes from their intent to a known end. A push whose client has the host's answer is over. Any other one is settled:
 * by this process when the exchange broke, or by the next one when its process died (CP26). Settling asks the host for
 * its refs, compares them with what the push wanted, and tells the session's log.
 */
import type { NewEvent } from "@manyhands/core";
import { type Clock, type Logger, toAppError } from "@manyhands/kit";
import { judgePush, type PushCommand, type PushOutcome, unknownPush } from "../policy/push-outcome.ts";
import { originOf, parseRepositoryUrl, type RepositoryUrl } from "../policy/repository-url.ts";
import type { PushStore, StoredPush } from "../store/push-store.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";

/** What settling needs. */
export type PushDeps = {
  readonly store: PushStore;
  /** How long an owner is believed to live without a renewal. */
  readonly leaseMs: number;
  /** The refs of a session's repository; undefined when the session has no right to it any more. */
  readonly refsOf: (session: string, workspace: string, url: RepositoryUrl) => Promise<Refs | undefined>;
  /** Adds an event to its session's log; a repeat under the same id changes nothing. */
  readonly tell: (session: string, event: NewEvent<"push.settled">, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends all of it. */
  readonly signal: AbortSignal;
};

type Refs = ReadonlyMap<string, string>;

/** A push that is under way. */
export type Push = {
  /** Its client has the answer: there is nothing to find out. */
  answered(): Promise<void>;
  /** It broke: what came of it is found out and told, in the background. */
  broke(): void;
};

/** Pushes of this process, and those that others left behind. */
export type Pushes = {
  /** Notes a push before its first byte is sent on. Rejects when that is not certain. */
  begin(
    claims: Pick<SessionClaims, "session" | "workspace">,
    url: RepositoryUrl,
    commands: readonly PushCommand[],
  ): Promise<Push>;
  /** Looks for pushes that others left behind, now and again and again until the signal ends it. */
  watch(): Promise<void>;
  /** Forgets those of a session that has ended. */
  end(session: string): Promise<void>;
};

const LOOK_MS = 3_000;
/** A host may go on for so long with a push whose connection it lost: until then an unmoved ref proves nothing. */
const QUIET_MS = 5_000;
const ASK_AGAIN_MS = 500;
const GIVE_UP_MS = 300_000;
const TELL_MS = 5_000;

/** Puts it together; nothing is looked for before `watch`. */
export function pushes(deps: PushDeps): Pushes {
  const { store, clock, logger, leaseMs, signal } = deps;
  const settleLater = (push: StoredPush) => {
    settle(deps, push).catch((error: unknown) => {
      if (!signal.aborted)
        logger.warn({ err: toAppError(error), session: push.record.session }, "a push is not settled");
    });
  };
  return {
    async begin({ session, workspace }, url, commands) {
      const push = await store.begin({ session, workspace, url: `${originOf(url)}${url.path}`, commands });
      const over = new AbortController();
      void keep(deps, push, AbortSignal.any([over.signal, signal]));
      return {
        async answered() {
          over.abort();
          await store.forget(push).catch(() => undefined); // it is settled later then, and truly
        },
        broke() {
          over.abort();
          settleLater(push);
        },
      };
    },
    async watch() {
      while (!signal.aborted) {
        try {
          for (const push of await store.takeLapsed()) settleLater(push);
        } catch (error) {
          logger.warn({ err: toAppError(error) }, "pushes that were left behind cannot be looked for");
        }
        await clock.sleep(Math.max(leaseMs, LOOK_MS), signal).catch(() => undefined);
      }
    },
    end: (session) => store.purge(session),
  };
}

/** Says that the owner lives, until it is over. */
async function keep({ clock, leaseMs, store }: PushDeps, push: StoredPush, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await clock.sleep(leaseMs / 4, over).catch(() => undefined);
    if (!over.aborted) await store.renew(push).catch(() => false);
  }
}

/** Finds out what came of a push, tells it, and forgets it. Lets go when somebody else has taken it. */
async function settle(deps: PushDeps, push: StoredPush): Promise<void> {
  const { clock, store, signal } = deps;
  const brokeAtMs = clock.nowMs();
  while (!signal.aborted) {
    const known = await outcomeOf(deps, push, clock.nowMs() - brokeAtMs);
    if (known !== undefined) {
      await tell(deps, push, known);
      await store.forget(push);
      return;
    }
    await clock.sleep(ASK_AGAIN_MS, signal);
    if (!(await store.renew(push))) return;
  }
}

/** Undefined while it cannot be said yet. */
async function outcomeOf(
  { refsOf, logger }: PushDeps,
  { record }: StoredPush,
  sinceMs: number,
): Promise<PushOutcome | undefined> {
  const { session, workspace, url, commands } = record;
  const parsed = parseRepositoryUrl(url);
  try {
    const refs = parsed.ok ? await refsOf(session, workspace, parsed.value) : undefined;
    if (refs === undefined) return unknownPush(commands);
    const judged = judgePush(commands, refs);
    const isMoved = judged.refs.every(({ outcome }) => outcome === "COMPLETED");
    return isMoved || sinceMs >= QUIET_MS ? judged : undefined;
  } catch (error) {
    logger.debug({ err: toAppError(error), session }, "the refs after a push cannot be read");
    return sinceMs >= GIVE_UP_MS ? unknownPush(commands) : undefined;
  }
}

async function tell(deps: PushDeps, { record }: StoredPush, { outcome, refs }: PushOutcome): Promise<void> {
  const { session, url, eventId } = record;
  const event = { id: eventId, type: "push.settled" as const, url, outcome, refs: [...refs] };
  try {
    await deps.tell(session, event, AbortSignal.timeout(TELL_MS));
  } catch (thrown) {
    const { kind } = toAppError(thrown);
    // A session that is closed or gone has nobody to be told.
    if (kind !== "conflict" && kind !== "notFound") throw thrown;
  }
}
