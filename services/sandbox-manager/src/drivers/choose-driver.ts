import { type Logger, systemClock, toAppError } from "@manyhands/kit";
import type { Config } from "../config.ts";
import { BUBBLEWRAP_NOT_ISOLATED, createBubblewrapDriver } from "./bubblewrap/bubblewrap-driver.ts";
import { createDockerDriver } from "./docker/docker-driver.ts";
import { ENGINE_RUNTIME } from "./docker/runtime.ts";
import type { Driver, TunnelDialer } from "./driver.ts";
import { type DriverName, driverNames } from "./driver-names.ts";
import { createVirtualDriver, VIRTUAL_NOT_ISOLATED } from "./virtual/virtual-driver.ts";

/** What was found out about the drivers of this machine. */
export type DriverReport = {
  readonly name: string;
  readonly available: boolean;
  /** Why not, in words; empty when available. */
  readonly unavailableReason: string;
  readonly notIsolated: readonly string[];
};

/** The drivers that work, the one used when a recipe names none, and why. */
export type ChosenDrivers = {
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly defaultDriver: string;
  readonly reason: string;
  readonly reports: readonly DriverReport[];
};

/** Who makes the hands: this manager, and the platform it belongs to. */
export type ManagerNames = { readonly instance: string; readonly platform: string };

type Candidate = {
  readonly notIsolated: readonly string[];
  /** Rejects with the reason why it does not work here. */
  readonly open: () => Promise<Driver>;
};

/**
 * Opens one driver: the one asked for, or the strongest that works. One that was asked for by name and does not work
 * is an error, never a weaker one in its place; and a weaker one is not there beside a stronger one, so that a recipe
 * cannot ask for less isolation than this machine gives.
 */
export async function chooseDrivers(
  config: Config,
  names: ManagerNames,
  logger: Logger,
  dial: TunnelDialer | undefined,
): Promise<ChosenDrivers> {
  const choice = config.driver;
  const reports: DriverReport[] = [];
  const refusals: string[] = [];
  let chosen: Driver | undefined;
  const all = candidates(config, names, logger, dial);
  for (const name of driverNames) {
    const { notIsolated, open } = all[name];
    const refused = (unavailableReason: string) =>
      reports.push({ name, available: false, unavailableReason, notIsolated });
    if (choice !== "auto" && choice !== name) {
      refused(`not asked for (MH_HAND_DRIVER=${choice})`);
      continue;
    }
    if (chosen) {
      refused("a stronger driver is in use");
      continue;
    }
    try {
      chosen = await open();
      reports.push({ name, available: true, unavailableReason: "", notIsolated: chosen.notIsolated });
    } catch (error) {
      const reason = error instanceof Error ? error.message : toAppError(error).message;
      if (choice === name) throw new Error(`MH_HAND_DRIVER=${name}, but ${reason}`);
      // A runtime is asked for because of what it isolates: without it there is nothing as strong.
      if (name === "docker" && config.docker.runtime) throw error;
      logger.debug({ err: error, driver: name }, "a driver does not work here");
      refused(reason);
      refusals.push(`${name} does not work here (${reason})`);
    }
  }
  if (!chosen) throw new Error("no driver works here");
  const auto = refusals.length > 0 ? refusals.join("; ") : "it is the strongest, and works";
  return {
    drivers: new Map([[chosen.name, chosen]]),
    defaultDriver: chosen.name,
    reason: choice === "auto" ? `auto: ${auto}` : `MH_HAND_DRIVER=${choice}`,
    reports,
  };
}

function candidates(
  config: Config,
  names: ManagerNames,
  logger: Logger,
  dial: TunnelDialer | undefined,
): Readonly<Record<DriverName, Candidate>> {
  const { agentPath } = config.docker;
  const shared = { ...names, logger, ...(dial ? { dial } : {}) };
  const withAgent = async (open: (agent: string) => Promise<Driver>) => {
    if (!agentPath) throw new Error("the in-hand agent is not compiled (MH_HAND_AGENT is not set)");
    return open(agentPath);
  };
  return {
    docker: {
      notIsolated: ENGINE_RUNTIME.notIsolated,
      open: () => withAgent((agent) => createDockerDriver({ ...config.docker, ...shared, agentPath: agent })),
    },
    bubblewrap: {
      notIsolated: BUBBLEWRAP_NOT_ISOLATED,
      open: () =>
        withAgent((agent) =>
          createBubblewrapDriver({ stateDir: config.stateDir, ...shared, agentPath: agent, clock: systemClock }),
        ),
    },
    virtual: {
      notIsolated: VIRTUAL_NOT_ISOLATED,
      open: async () => createVirtualDriver(names.instance, () => systemClock.nowMs()),
    },
  };
}
