/**
 * Wakes → runners. One runner per session and process; the wake is held by beats while the runner runs (the bus does
 * that) and settled by how it ended. After the last acknowledgement the log is looked at once more, so that nothing that
 * arrived in between is left lying. How many run at once, and which makes room for others: room.ts.
 */
import type { Wake, WakeConsumer, WakeConsumerOptions } from "@manyhands/bus";
import { AppError, type Clock, type Lifecycle, type Logger, toAppError } from "@manyhands/kit";
import type { Pass } from "../fault-points.ts";
import type { Harness } from "../harness-kinds.ts";
import type { Model } from "../model/model.ts";
import { Room } from "./room.ts";
import { Runner, type RunnerPorts } from "./runner.ts";
import { judgeNews } from "./warm-news.ts";
import type { WarmSessions } from "./warm-sessions.ts";

/** The wake queue as the driver sees it. */
export interface Wakes {
  /** Takes wakes until told to stop. */
  consume(options: WakeConsumerOptions): Promise<WakeConsumer>;
  /** Asks for a look at a session; one that is pending already is enough. */
  publish(wake: { readonly kind: string; readonly sessionId: string }): Promise<unknown>;
}

/** What driving wakes needs. */
export interface DriverPorts {
  readonly wakes: Wakes;
  readonly clock: Clock;
  readonly lifecycle: Pick<Lifecycle, "signal" | "drainMs" | "onStop">;
  readonly logger: Logger;
  readonly model: Model;
  readonly warm: WarmSessions;
  readonly pass: Pass;
  readonly concurrency: number;
  /** So long a session keeps its place while others wait for one. */
  readonly sliceMs: number;
  /** Told whenever the last session in work has ended. */
  readonly onRest?: () => void;
  readonly ackWaitMs: number;
  readonly runnerPorts: (harness: Harness) => RunnerPorts;
}

/** The sessions that this process drives. */
export interface Driver {
  /** Number of sessions in work. */
  inWork(): number;
  /** Starts taking wakes of a harness kind; ends with the lifecycle. */
  start(harness: Harness): Promise<void>;
  /** Whether a wake that was delivered to another brain shall be this one's: it drives the session, or kept it warm. */
  wants(sessionId: string): boolean;
  /** Drives the session of a wake, or lets a drive that began without it hold it; settles it. */
  take(wake: Wake): Promise<void>;
}

/** Part of the drain time in which answers on their way may still come in. */
const patience = 0.7;

/** A driver; a stop of the lifecycle hands every session back at its next event boundary. */
export function createDriver(ports: DriverPorts): Driver {
  const { lifecycle, warm, clock, logger } = ports;
  const consumers: WakeConsumer[] = [];
  const takeWaiting = async () => {
    for (const consumer of [...consumers]) {
      if (!(await consumer.takeWaiting((wake) => handle(ports, drives, wake, true)))) continue;
      consumers.push(...consumers.splice(0, consumers.indexOf(consumer) + 1)); // next time the other kinds come first
      return true;
    }
    return false;
  };
  const { concurrency: capacity, sliceMs } = ports;
  const room = new Room({ capacity, sliceMs, takeWaiting, clock, logger, signal: lifecycle.signal });
  const drives: Drives = { bySession: new Map(), harnesses: new Map(), room };
  const { bySession } = drives;
  const drainAll = (isUrgent: boolean) => {
    for (const { runner } of bySession.values()) runner.drain(isUrgent);
  };
  lifecycle.signal.addEventListener("abort", () => {
    drainAll(false);
    void ports.clock.sleep(lifecycle.drainMs * patience).then(() => drainAll(true));
  });
  return {
    inWork: () => bySession.size,
    async start(harness) {
      drives.harnesses.set(harness.kind, harness);
      const consumer = await ports.wakes.consume({
        kind: harness.kind,
        concurrency: ports.concurrency,
        room,
        ackWaitMs: ports.ackWaitMs,
        handle: (wake) => handle(ports, drives, wake),
      });
      consumers.push(consumer);
      const stop = async () => {
        await consumer.stop();
        await Promise.all([...bySession.values()].map((drive) => drive.ended)); // those that began without a wake
      };
      lifecycle.onStop(`wakes of ${harness.kind}`, stop, { phase: "accept", deadlineMs: lifecycle.drainMs });
    },
    wants(sessionId) {
      if (lifecycle.signal.aborted) return false;
      const drive = bySession.get(sessionId);
      if (drive !== undefined) return drive.wake === undefined || drive.isSettled;
      return warm.peek(sessionId) !== undefined && !room.isFull();
    },
    take: (wake) => handle(ports, drives, wake),
  };
}

/** A session that this process drives. */
interface Drive {
  readonly runner: Runner;
  /** The wake it holds. A warm session's drive begins on the news itself; its wake comes a moment later. */
  wake: Wake | undefined;
  /** True once its wake is settled, or it ended without one: a wake that comes now is a new one, not the same again. */
  isSettled: boolean;
  /** True when it was asked to make room for others. */
  makesRoom: boolean;
  /** Resolves, and rejects, as its wake is to be settled. */
  readonly outcome: Promise<void>;
  readonly ended: Promise<void>;
}

interface Drives {
  readonly bySession: Map<string, Drive>;
  readonly harnesses: Map<string, Harness>;
  readonly room: Room;
}

/** `waits`: when there is no place for it, one is being made. */
async function handle(ports: DriverPorts, drives: Drives, wake: Wake, waits = false): Promise<void> {
  const { sessionId } = wake;
  const { signal } = ports.lifecycle;
  const { bySession, room } = drives;
  const isMine = bySession.has(sessionId) || ports.warm.peek(sessionId) !== undefined;
  if (!isMine && (await wake.pass())) return;
  if (waits) await room.whenMine(signal);
  for (let before = bySession.get(sessionId); before !== undefined; before = bySession.get(sessionId)) {
    if (!before.isSettled && before.wake === undefined) {
      before.wake = wake;
      return before.outcome;
    }
    if (!before.isSettled) return wake.abandon(); // it came again although this process still drives the session
    await before.ended;
  }
  if (signal.aborted || room.isFull()) return wake.release(); // the place it was asked for is taken
  await drive(ports, drives, sessionId, wake.kind, wake);
}

/** What a warm session's tail says now: work is begun at once, and a session that another brain took is forgotten. */
function heed(ports: DriverPorts, drives: Drives, sessionId: string, kind: string): void {
  const { logger, lifecycle, warm } = ports;
  const session = warm.peek(sessionId);
  const news = session === undefined ? "nothing" : judgeNews(session);
  if (news === "taken") warm.drop(sessionId);
  if (news !== "work" && news !== "urgent") return;
  const isFree = !drives.bySession.has(sessionId) && drives.room.mayBegin(news === "urgent");
  if (!isFree || lifecycle.signal.aborted) return; // the wake itself will come to somebody
  drive(ports, drives, sessionId, kind, undefined).catch((error: unknown) => {
    logger.warn(
      { err: error, session_id: sessionId },
      "a turn failed that had begun before its wake; the wake remains",
    );
  });
}

async function drive(
  ports: DriverPorts,
  drives: Drives,
  sessionId: string,
  kind: string,
  wake: Wake | undefined,
): Promise<void> {
  const harness = drives.harnesses.get(kind);
  if (harness === undefined) throw AppError.notFound("harness kind", kind);
  ports.pass("after_wake");
  ports.model.prepare(sessionId);
  const runner = new Runner(sessionId, ports.runnerPorts(harness), ports.warm.take(sessionId));
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<void>();
  const made: Drive = { runner, wake, isSettled: false, makesRoom: false, outcome: outcome.promise, ended };
  drives.bySession.set(sessionId, made);
  drives.room.enter(sessionId, () => {
    made.makesRoom = true;
    runner.drain(false);
  });
  try {
    await settle(ports, drives, harness, sessionId, made);
    outcome.resolve();
  } catch (error) {
    if (toAppError(error).kind !== "notFound") {
      outcome.promise.catch(() => undefined); // nobody waits for it but a wake that came later
      outcome.reject(error);
      throw error;
    }
    outcome.resolve();
    ports.logger.info({ session_id: sessionId }, "the session of a wake does not exist");
  } finally {
    runner.close();
    drives.bySession.delete(sessionId);
    drives.room.leave(sessionId);
    if (drives.bySession.size === 0) ports.onRest?.();
    heed(ports, drives, sessionId, kind); // what was said while it was ending
    end();
  }
}

async function settle(
  ports: DriverPorts,
  drives: Drives,
  harness: Harness,
  sessionId: string,
  drive: Drive,
): Promise<void> {
  const { runner } = drive;
  const end = await runner.run();
  drive.isSettled = end === "rest";
  const { wake } = drive;
  switch (end) {
    case "rest":
      await wake?.done();
      await lookAgain(ports, drives, harness, sessionId, runner);
      return;
    case "fenced":
      wake?.abandon();
      return;
    case "drained":
      if (drive.makesRoom && !ports.lifecycle.signal.aborted)
        await toEndOfQueue(ports, drives, harness, sessionId, drive);
      else await wake?.release();
      return;
    case "otherKind": {
      if (wake === undefined) return; // its own wake goes to the other kind already
      const state = runner.state();
      await wake.done();
      if (state.phase !== "unborn" && state.phase !== "closed") {
        await ports.wakes.publish({ kind: state.harnessKind, sessionId });
      }
      return;
    }
    default: {
      const never: never = end;
      throw never;
    }
  }
}

/** Asks anew, behind those that wait: a wake that is given back would come again before them. Interrupts are heard meanwhile. */
async function toEndOfQueue(
  ports: DriverPorts,
  drives: Drives,
  harness: Harness,
  sessionId: string,
  drive: Drive,
): Promise<void> {
  keepWarm(ports, drives, harness, sessionId, drive.runner);
  if (drive.wake === undefined) return; // its own wake waits in the queue already
  drive.isSettled = true;
  await drive.wake.done();
  await ports.wakes.publish({ kind: harness.kind, sessionId });
}

/** What is said in the session from now on is heard (`heed`). */
function keepWarm(ports: DriverPorts, drives: Drives, harness: Harness, sessionId: string, runner: Runner): void {
  const warm = runner.handOver();
  if (warm === undefined || !ports.warm.keep(sessionId, warm)) return;
  warm.tail.onNews = () => heed(ports, drives, sessionId, harness.kind);
}

/** The wake is settled; from here on a failure can only be repaired by another wake. */
async function lookAgain(
  ports: DriverPorts,
  drives: Drives,
  harness: Harness,
  sessionId: string,
  runner: Runner,
): Promise<void> {
  try {
    const hasMore = await runner.hasMore();
    keepWarm(ports, drives, harness, sessionId, runner);
    if (hasMore) await ports.wakes.publish({ kind: harness.kind, sessionId });
  } catch (error) {
    if (toAppError(error).kind === "notFound") return;
    ports.logger.warn({ err: error, session_id: sessionId }, "looking again after a turn failed; waking once more");
    await ports.wakes.publish({ kind: harness.kind, sessionId });
  }
}
