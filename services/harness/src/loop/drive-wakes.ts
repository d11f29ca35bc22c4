/**
 * Wakes → runners. One runner per session and process; the wake is held by beats while the runner runs (the bus does
 * that) and settled by how it ended. After the last acknowledgement the log is looked at once more, so that nothing that
 * arrived in between is left lying.
 */
import type { Wake, WakeConsumer, WakeConsumerOptions } from "@manyhands/bus";
import { type Clock, type Lifecycle, type Logger, toAppError } from "@manyhands/kit";
import type { Pass } from "../fault-points.ts";
import type { Harness } from "../harness-kinds.ts";
import type { Model } from "../model/model.ts";
import { Runner, type RunnerPorts } from "./runner.ts";
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
}

/** Part of the drain time in which answers on their way may still come in. */
const patience = 0.7;

/** A driver; a stop of the lifecycle hands every session back at its next event boundary. */
export function createDriver(ports: DriverPorts): Driver {
  const driven: Driven = new Map();
  const drainAll = (isUrgent: boolean) => {
    for (const { runner } of driven.values()) runner.drain(isUrgent);
  };
  ports.lifecycle.signal.addEventListener("abort", () => {
    drainAll(false);
    void ports.clock.sleep(ports.lifecycle.drainMs * patience).then(() => drainAll(true));
  });
  return {
    inWork: () => driven.size,
    async start(harness) {
      const consumer = await ports.wakes.consume({
        kind: harness.kind,
        concurrency: ports.concurrency,
        ackWaitMs: ports.ackWaitMs,
        handle: (wake) => handle(ports, driven, harness, wake),
      });
      const { drainMs } = ports.lifecycle;
      ports.lifecycle.onStop(`wakes of ${harness.kind}`, () => consumer.stop(), {
        phase: "accept",
        deadlineMs: drainMs,
      });
    },
  };
}

/** A session that this process drives. */
interface Drive {
  readonly runner: Runner;
  /** True once its wake is acknowledged: another wake that comes now is a new one, not the same one again. */
  isAcknowledged: boolean;
  readonly ended: Promise<void>;
}

type Driven = Map<string, Drive>;

async function handle(ports: DriverPorts, driven: Driven, harness: Harness, wake: Wake): Promise<void> {
  const { sessionId } = wake;
  for (let before = driven.get(sessionId); before !== undefined; before = driven.get(sessionId)) {
    if (!before.isAcknowledged) return wake.abandon(); // it came again although this process still drives the session
    await before.ended;
  }
  if (ports.lifecycle.signal.aborted) return wake.release();
  ports.pass("after_wake");
  ports.model.prepare(sessionId);
  const runner = new Runner(sessionId, ports.runnerPorts(harness), ports.warm.take(sessionId));
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const drive: Drive = { runner, isAcknowledged: false, ended };
  driven.set(sessionId, drive);
  try {
    await settle(ports, harness, wake, drive);
  } catch (error) {
    if (toAppError(error).kind !== "notFound") throw error;
    ports.logger.info({ session_id: sessionId }, "the session of a wake does not exist");
  } finally {
    runner.close();
    driven.delete(sessionId);
    if (driven.size === 0) ports.onRest?.();
    end();
  }
}

async function settle(ports: DriverPorts, harness: Harness, wake: Wake, drive: Drive): Promise<void> {
  const { sessionId } = wake;
  const { runner } = drive;
  const end = await runner.run();
  switch (end) {
    case "rest":
      drive.isAcknowledged = true;
      await wake.done();
      await lookAgain(ports, harness, sessionId, runner);
      return;
    case "fenced":
      wake.abandon();
      return;
    case "drained":
      await wake.release();
      return;
    case "otherKind": {
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

/** The wake is settled; from here on a failure can only be repaired by another wake. */
async function lookAgain(ports: DriverPorts, harness: Harness, sessionId: string, runner: Runner): Promise<void> {
  try {
    const hasMore = await runner.hasMore();
    const warm = runner.handOver();
    if (warm !== undefined) ports.warm.keep(sessionId, warm);
    if (hasMore) await ports.wakes.publish({ kind: harness.kind, sessionId });
  } catch (error) {
    if (toAppError(error).kind === "notFound") return;
    ports.logger.warn({ err: error, session_id: sessionId }, "looking again after a turn failed; waking once more");
    await ports.wakes.publish({ kind: harness.kind, sessionId });
  }
}
