import { afterEach, describe, expect, test } from "vitest";
import { createAdminServer, type ReadyCheck } from "./admin-server.ts";
import { createLifecycle, type Lifecycle } from "./lifecycle.ts";
import { silentLogger } from "./logger.ts";
import { createMetrics } from "./metrics.ts";

let lifecycle: Lifecycle;

async function start(checks: Record<string, ReadyCheck> = {}): Promise<string> {
  const logger = silentLogger();
  lifecycle = createLifecycle({ logger, drainMs: 100 });
  const options = {
    listen: "127.0.0.1:0",
    logger,
    lifecycle,
    metrics: createMetrics(),
    version: { version: "1" },
    checks,
  };
  return `http://${(await createAdminServer(options)).address}`;
}

afterEach(() => lifecycle.stop("the test is over"));

describe("the admin server", () => {
  test("is alive before it is ready, and ready only when told and every check holds", async () => {
    let up = false;
    const url = await start({
      bus: () => up,
      store: () => Promise.reject(new Error("https://u:hunter2@host is down")),
    });
    const readyz = async () => {
      const response = await fetch(`${url}/readyz`);
      const body: { checks: Record<string, object> } = JSON.parse(await response.text());
      return { status: response.status, body };
    };
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    lifecycle.setReady(true);
    const first = await readyz();
    expect(first.status).toBe(503);
    expect(first.body.checks).toEqual({
      bus: { ok: false },
      store: { ok: false, error: "https://[redacted]@host is down" },
    });
    up = true;
    expect((await readyz()).body.checks.bus).toEqual({ ok: true });
  });

  test("serves nothing else", async () => {
    const url = await start();
    expect((await fetch(`${url}/other`)).status).toBe(404);
    expect((await fetch(`${url}/healthz`, { method: "POST", body: "x" })).status).toBe(405);
  });

  test("an address in use is an error that names it", async () => {
    const url = await start();
    const listen = url.slice("http://".length);
    const logger = silentLogger();
    const second = createAdminServer({ listen, logger, lifecycle, metrics: createMetrics(), version: {} });
    await expect(second).rejects.toMatchObject({ reason: "LISTEN_FAILED", message: expect.stringContaining(listen) });
  });
});
