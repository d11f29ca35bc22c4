/** What must be true of a server before a log is entrusted to it. */
import { AppError, withDeadline } from "@manyhands/kit";
import type { Bus } from "./bus.ts";

const minimum = [2, 10] as const;
const fetchDeadlineMs = 5000;

/** Throws AppError `unavailable`/SERVER_TOO_OLD below 2.10: older servers answer batch reads silently wrong. */
export function checkServerVersion(bus: Bus): void {
  const version = bus.serverVersion();
  if (atLeast(version, minimum)) return;
  throw AppError.unavailable("SERVER_TOO_OLD", `nats-server is ${version || "of unknown version"}; 2.10 is the least`);
}

/** Whether a server's version, `major.minor.patch`, is at least the given one. */
export function atLeast(version: string, [least, leastMinor]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > least || (major === least && minor >= leastMinor);
}

/**
 * Proves by the server's monitoring port that every write is on disk before it is acknowledged. Throws AppError
 * `unavailable`/SYNC_NOT_PROVEN, saying why, when it is not so or cannot be seen.
 */
export async function checkSyncAlways(monitorUrl: string | undefined): Promise<void> {
  const refuse = (why: string, cause?: unknown) =>
    AppError.unavailable(
      "SYNC_NOT_PROVEN",
      `${why}; a power cut would lose acknowledged events. Set sync_interval: always in the server's jetstream block and ` +
        "MH_NATS_MONITOR_URL to its monitoring URL, or accept the loss with MH_ALLOW_DATA_LOSS=true",
      cause,
    );
  if (monitorUrl === undefined) throw refuse("the monitoring URL of nats-server is not known");
  const url = new URL("/jsz?config=true", monitorUrl);
  let body: { config?: { sync_always?: boolean } };
  try {
    body = await withDeadline(fetchDeadlineMs, `asking ${url.href}`, async (signal) => {
      const response = await fetch(url, { signal });
      if (!response.ok) throw new Error(`status ${response.status}`);
      return response.json() as Promise<{ config?: { sync_always?: boolean } }>; // checked field by field below
    });
  } catch (error) {
    throw refuse(`${url.href} cannot be read (${error instanceof Error ? error.message : String(error)})`, error);
  }
  if (body.config?.sync_always !== true) throw refuse("nats-server does not sync every write");
}
