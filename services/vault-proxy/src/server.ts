import { createServiceServer, type ServiceServer, type Shell } from "@manyhands/kit";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { createEgressListener } from "./egress/egress-listener.ts";
import { egressProxy } from "./egress/egress-proxy.ts";
import { createInterceptor } from "./egress/interceptor.ts";
import { createGitListener } from "./git/git-listener.ts";
import { gitProxy } from "./git/git-proxy.ts";
import { listenHttp } from "./http/listen.ts";
import { createModelServer } from "./model/model-proxy.ts";
import { routes } from "./routes.ts";

/** gRPC, admin, and the proxies. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  const { lifecycle, logger } = shell;
  const base = createServiceServer({
    config: config.service,
    shell,
    services: [routes(deps)],
    checks: { store: deps.storeAnswers },
  });
  return {
    async start() {
      const { guard, bindings, usage, clock, times } = deps;
      const { upstreamUrl, apiKeys } = config.model;
      const platformKeys = apiKeys.map((value, index) => ({
        id: index === 0 ? "platform" : `platform_${index + 1}`,
        value,
      }));
      const modelServer = createModelServer({
        guard,
        upstreamUrl,
        keys: async (workspace) => {
          const own = await deps.modelKeys.reveal(workspace);
          return own.length > 0 ? own : platformKeys;
        },
        dispatcher: deps.modelDispatcher,
        usage: usage.model,
        logger: logger.child({ part: "model" }),
        clock,
      });
      const handle = gitProxy({
        guard,
        bindings,
        pushes: deps.pushes,
        dispatcher: deps.gitDispatcher,
        usage: usage.git,
        logger: logger.child({ part: "git" }),
        clock,
      });
      const model = await listenHttp(modelServer, config.model.listen, "model proxy", lifecycle);
      const egress = egressProxy({
        guard,
        policyOf: deps.egress.sessions.policyOf,
        swapFor: deps.egress.sessions.swapFor,
        dialer: deps.egress.dialer,
        ca: deps.egress.upstreamCa,
        interceptor: createInterceptor(deps.egress.authority),
        audit: deps.egress.audit,
        logger: logger.child({ part: "egress" }),
        times,
      });
      const git = await createGitListener({ listen: config.git.listen, handle, egress, lifecycle, logger, times });
      const web = await createEgressListener({ listen: config.egress.listen, proxy: egress, lifecycle, logger, times });
      const { addresses } = await base.start();
      void deps.pushes.watch();
      return { addresses: { ...addresses, model, git, egress: web } };
    },
  };
}
