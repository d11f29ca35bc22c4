import { createServiceServer, implement, retry, type ServiceServer, type Shell } from "@manyhands/kit";
import { HarnessService } from "@manyhands/protocol";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { describeHarness } from "./routes/describe-harness.ts";
import { interrupt } from "./routes/interrupt.ts";
import { replaySession } from "./routes/replay-session.ts";
import { switchHarness } from "./routes/switch-harness.ts";
import { wake } from "./routes/wake.ts";

/** At the first start the wake stream may not be there yet: session-store makes it. */
const startAttempts = 40;

/** gRPC and admin, then the wakes. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  const service = implement(HarnessService, {
    wake: wake(deps),
    interrupt: interrupt(deps),
    switchHarness: switchHarness(deps),
    replaySession: replaySession(deps),
    describeHarness: describeHarness({ ...deps, instanceId: shell.instanceId, capacity: config.concurrency }),
  });
  const server = createServiceServer({
    config: config.service,
    shell,
    services: [service],
    checks: { bus: async () => deps.bus.connected() },
  });
  return {
    async start() {
      const started = await server.start();
      for (const harness of deps.kinds.drivers.values()) {
        await retry(() => deps.driver.start(harness), {
          attempts: startAttempts,
          initialMs: 50,
          maxMs: 1_000,
          signal: shell.lifecycle.signal,
          onRetry: (error, attempt) => shell.logger.debug({ err: error, attempt }, "waiting for the wake stream"),
        });
      }
      return started;
    },
  };
}
