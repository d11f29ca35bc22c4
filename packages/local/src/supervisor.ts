import { ManagedProcess, type ProcessSpec, type RestartPolicy, restartPolicy } from "./managed-process.ts";
import type { Progress } from "./progress.ts";
import { SetupError } from "./setup-error.ts";

const STOP_MS = 15_000;
const STOP_STEP_MS = 5_000;
/** What every later step is certain to get of the whole time. */
const STOP_RESERVE_MS = 300;

/** A running process, for people and tests. */
export interface RunningProcess {
  readonly service: string;
  readonly index: number;
  readonly pid: number;
}

/** How a supervisor works; the defaults are those of `npm start`. */
export interface SupervisorOptions {
  readonly progress: Progress;
  /** The services in the order they stop; those of one service stop together. */
  readonly stopOrder: readonly string[];
  readonly policy?: RestartPolicy;
  readonly stopMs?: number;
  /** Run just before a service is stopped, when what stops earlier is gone already; must end by itself and not throw. */
  readonly beforeStop?: Readonly<Record<string, () => Promise<void>>>;
}

/** Keeps a set of processes running and stops exactly those, in order and in bounded time. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes: ManagedProcess[] = [];
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Brings the waves up one after the other; on a failure everything is stopped again and the reason thrown. */
  async start(waves: readonly (readonly ProcessSpec[])[]): Promise<void> {
    try {
      for (const wave of waves) {
        const started = wave.map(
          (spec) => new ManagedProcess(spec, this.#options.progress, this.#options.policy ?? restartPolicy),
        );
        this.#processes.push(...started);
        if (this.#stopped !== undefined)
          throw new SetupError("the platform was stopped while it started", { advice: "" });
        if (started.length > 0) this.#options.progress(`starting ${started.map(({ name }) => name).join(", ")}`);
        await Promise.all(started.map((process) => process.start()));
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** What runs at this moment, in the order it was started. */
  processes(): RunningProcess[] {
    return this.#processes.flatMap(({ spec, pid }) =>
      pid === undefined ? [] : [{ service: spec.service, index: spec.index, pid }],
    );
  }

  /** Sends a signal to one process; when it dies of it, it is started again like after any crash. */
  kill(service: string, index: number, signal: NodeJS.Signals): void {
    this.#find(service, index).kill(signal);
  }

  /** Resolves when that process is ready (again). */
  whenReady(service: string, index: number): Promise<void> {
    return this.#find(service, index).whenReady();
  }

  /** A clean stop and a new start of one process. */
  restart(service: string, index: number): Promise<void> {
    return this.#find(service, index).restart(STOP_STEP_MS);
  }

  /** Stops everything this supervisor started; twice is fine. Bounded: the last ones are killed when time is up. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  async #stopInOrder(): Promise<void> {
    const deadline = performance.now() + (this.#options.stopMs ?? STOP_MS);
    const steps = this.#stopSteps();
    for (const [position, step] of steps.entries()) {
      await this.#options.beforeStop?.[step[0]?.spec.service ?? ""]?.();
      const reserved = STOP_RESERVE_MS * (steps.length - 1 - position);
      const left = Math.max(deadline - performance.now() - reserved, STOP_RESERVE_MS);
      await Promise.all(step.map((process) => process.stop(Math.min(left, STOP_STEP_MS))));
    }
  }

  #stopSteps(): ManagedProcess[][] {
    const { stopOrder } = this.#options;
    const others = this.#processes.map(({ spec }) => spec.service).filter((service) => !stopOrder.includes(service));
    return [...new Set([...others, ...stopOrder])]
      .map((service) => this.#processes.filter(({ spec }) => spec.service === service))
      .filter((step) => step.length > 0);
  }

  #find(service: string, index: number): ManagedProcess {
    const found = this.#processes.find(({ spec }) => spec.service === service && spec.index === index);
    if (found === undefined) throw new SetupError(`there is no process ${service}-${index}`, { advice: "" });
    return found;
  }
}
