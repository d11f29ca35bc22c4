/** The drivers that a manager may make hands with, the strongest first. `choose-driver.ts` opens each. */
export const driverNames = ["docker", "bubblewrap", "virtual"] as const;

/** One of them. */
export type DriverName = (typeof driverNames)[number];
