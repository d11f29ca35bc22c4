/** The harness as it is shipped, put together on given ports: loaded again, changed in one place, for each mutant. */

import { defaultHarness } from "../../services/harness/src/harness-kinds.ts";
import type { DriverPorts } from "../../services/harness/src/loop/drive-wakes.ts";
import { createDriver, type Driver, type Wakes } from "../../services/harness/src/loop/drive-wakes.ts";
import type { RunnerPorts } from "../../services/harness/src/loop/runner.ts";
import { createSessionLog, type SessionLogPorts } from "../../services/harness/src/loop/session-log.ts";
import { createTasks, type TaskPorts } from "../../services/harness/src/loop/tasks.ts";
import { createWarmSessions } from "../../services/harness/src/loop/warm-sessions.ts";

/** Everything a harness gets from outside. */
export interface BrainPorts
  extends SessionLogPorts,
    Pick<TaskPorts, "model" | "sandboxes" | "limits" | "pass" | "mcp">,
    Pick<DriverPorts, "lifecycle" | "logger" | "concurrency" | "sliceMs"> {
  readonly wakes: Wakes;
  readonly instanceId: string;
  readonly warmMs: number;
  readonly checkpointEvents: number;
}

/** A harness that is taking wakes; `stop` frees what it holds. */
export async function startBrain(ports: BrainPorts): Promise<{ readonly driver: Driver; stop(): void }> {
  const { model, clock, newId, limits, pass, logger, lifecycle, instanceId, checkpointEvents } = ports;
  const log = createSessionLog(ports);
  const warm = createWarmSessions(ports.warmMs, clock);
  const taskPorts: TaskPorts = { ...ports, deltaIntervalMs: 25, publishDelta: () => undefined };
  const runnerPorts = (harness: RunnerPorts["harness"]): RunnerPorts => ({
    log,
    harness,
    limits,
    instanceId,
    clock,
    newId,
    logger,
    pass,
    checkpointEvents,
    createTasks: (sessionId, push) => createTasks(taskPorts, sessionId, push),
  });
  const driver = createDriver({
    wakes: ports.wakes,
    clock,
    lifecycle,
    logger,
    model,
    warm,
    pass,
    concurrency: ports.concurrency,
    sliceMs: ports.sliceMs,
    ackWaitMs: 1_250,
    runnerPorts,
  });
  await driver.start(defaultHarness);
  return { driver, stop: () => warm.close() };
}
