import { ConfigError, readEnv } from "../env.ts";
import { AppError } from "../errors.ts";
import { EchoService } from "../gen/manyhands/testing/v1/echo_service_pb.ts";
import { implement } from "../rpc-handlers.ts";
import { runService } from "../run-service.ts";
import { createServiceServer, readServiceConfig } from "../service.ts";
import { echo } from "./echo.ts";

/** A whole service as small as can be, run as a process by the tests. */
await runService("echo", {
  readConfig(env) {
    const reader = readEnv(env);
    const config = {
      service: readServiceConfig(reader),
      greeting: reader.string("MH_GREETING", { default: "hello", doc: "What to say first." }),
      key: reader.secret("MH_ECHO_KEY", { default: "unset", doc: "A key nobody may see." }),
      failure: reader.oneOf("MH_FAILURE", ["none", "rejection", "start", "config"], {
        default: "none",
        doc: "How to fail.",
      }),
    };
    reader.done();
    return config;
  },
  createDeps(config, { lifecycle, logger }) {
    lifecycle.onStop("greeter", () => logger.info("the greeter is closed"));
    if (config.failure === "config") {
      throw new ConfigError(["MH_GREETING names nobody"]);
    }
    if (config.failure === "start") {
      throw AppError.unavailable("NO_GREETER", "the greeter does not answer");
    }
    if (config.failure === "rejection") {
      setImmediate(() => void Promise.reject(new Error("nobody waits for this")));
    }
    return { greeting: config.greeting };
  },
  createServer(config, _deps, shell) {
    const waiting = implement(EchoService, {
      ...echo,
      async echoOnce({ text }) {
        if (text === "hang") {
          shell.logger.info("hanging");
          await new Promise(() => {});
        }
        return { text };
      },
    });
    return createServiceServer({ config: config.service, shell, services: [waiting], checks: { greeter: () => true } });
  },
});
