import {
  AppError,
  createAdminServer,
  formatAddress,
  parseAddress,
  type ServiceServer,
  type Shell,
  toAppError,
  trackConnections,
} from "@manyhands/kit";
import { createApp } from "./app.ts";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";

/** The public API and the admin server. A stop ends the event streams first, then waits for running requests. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  const { logger, lifecycle, metrics, name, instanceId } = shell;
  return {
    async start() {
      const admin = await createAdminServer({
        listen: config.service.adminListen,
        logger,
        lifecycle,
        metrics,
        checks: { "session-store": () => answers(deps) },
        version: { service: name, instance: instanceId, node: process.version },
      });
      const http = await listen(config, deps, shell);
      return { addresses: { http, admin: admin.address } };
    },
  };
}

async function listen(config: Config, deps: Deps, shell: Shell): Promise<string> {
  const wanted = parseAddress(config.httpListen);
  if (!wanted) throw AppError.invalid([{ field: "MH_HTTP_LISTEN", description: "must be host:port" }]);
  const app = createApp(config, deps, shell);
  const closeConnections = trackConnections(app.server);
  // The lifecycle's signal has ended the streams by now, so this waits for short requests only.
  const close = async () => {
    const closed = app.close();
    closeConnections();
    await closed;
  };
  shell.lifecycle.onStop("http server", close, { phase: "drain" });
  await app.listen({ host: wanted.host, port: wanted.port });
  const bound = app.server.address();
  return formatAddress({ host: wanted.host, port: typeof bound === "object" && bound ? bound.port : wanted.port });
}

/** session-store answers when it says that a session nobody has does not exist. */
async function answers({ sessions }: Deps): Promise<boolean> {
  try {
    await sessions.getSession({ workspaceId: "", sessionId: "sesn_readyz" }, { deadlineMs: 1500 });
    return true;
  } catch (thrown) {
    const { kind } = toAppError(thrown);
    return kind === "notFound" || kind === "invalid";
  }
}
