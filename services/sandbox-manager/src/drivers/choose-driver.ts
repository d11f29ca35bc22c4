import { type Logger, systemClock, toAppError } from "@manyhands/kit";
import type { Config } from "../config.ts";
import { createDockerDriver, DOCKER_NOT_ISOLATED } from "./docker/docker-driver.ts";
import type { Driver, TunnelDialer } from "./driver.ts";
import { createVirtualDriver } from "./virtual/virtual-driver.ts";

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

/** Opens what the configuration allows. A driver that was asked for by name and does not work is an error, never a weaker one in its place. */
export async function chooseDrivers(
  config: Config,
  names: ManagerNames,
  logger: Logger,
  dial: TunnelDialer | undefined,
): Promise<ChosenDrivers> {
  const drivers = new Map<string, Driver>();
  const { driver: choice } = config;
  const virtual = createVirtualDriver(names.instance, () => systemClock.nowMs());
  const problem =
    choice === "virtual"
      ? "not asked for (MH_HAND_DRIVER=virtual)"
      : await openDocker(config, names, logger, dial, drivers);
  if (choice === "docker" && problem) throw new Error(`MH_HAND_DRIVER=docker, but ${problem}`);
  // Only where it was chosen: a recipe must not be able to ask for less isolation than this machine gives.
  if (choice === "virtual" || (choice === "auto" && problem)) drivers.set(virtual.name, virtual);
  const defaultDriver = drivers.has("docker") ? "docker" : "virtual";
  const reason =
    choice === "auto"
      ? problem
        ? `auto: docker does not work here (${problem})`
        : "auto: the Docker Engine answers and has the image"
      : `MH_HAND_DRIVER=${choice}`;
  const virtualProblem = drivers.has("virtual") ? "" : "a stronger driver is in use";
  return {
    drivers,
    defaultDriver,
    reason,
    reports: [
      { name: "docker", available: !problem, unavailableReason: problem, notIsolated: DOCKER_NOT_ISOLATED },
      {
        name: "virtual",
        available: !virtualProblem,
        unavailableReason: virtualProblem,
        notIsolated: virtual.notIsolated,
      },
    ],
  };
}

/** Empty when it works, else why not. */
async function openDocker(
  config: Config,
  { instance, platform }: ManagerNames,
  logger: Logger,
  dial: TunnelDialer | undefined,
  drivers: Map<string, Driver>,
): Promise<string> {
  const { socketPath, image, agentPath } = config.docker;
  if (!agentPath) return "the in-hand agent is not compiled (MH_HAND_AGENT is not set)";
  try {
    const driver = await createDockerDriver({
      socketPath,
      image,
      agentPath,
      instance,
      platform,
      logger,
      ...(dial ? { dial } : {}),
    });
    drivers.set(driver.name, driver);
    return "";
  } catch (error) {
    logger.debug({ err: error }, "docker does not work here");
    return error instanceof Error ? error.message : toAppError(error).message;
  }
}
