import { anySignal, raceAbort } from "./deadline.ts";
import { AppError } from "./errors.ts";
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "./gen/grpc/health/v1/health_pb.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { type Implemented, implement } from "./rpc-handlers.ts";
import type { RpcContext } from "./rpc-types.ts";

/** grpc.health.v1 over the lifecycle's readiness: every service name and "" (the whole server) follow it. */
export type Health = {
  readonly service: Implemented;
  /** What Check answers now. */
  readonly serving: boolean;
};

/** Watchers of one server beyond this are refused, so that probes cannot exhaust it. */
const MAX_WATCHERS = 1000;

/** Health for these service names. NOT_SERVING until ready and from the first moment of a stop. */
export function createHealth(serviceNames: readonly string[], lifecycle: Lifecycle): Health {
  const names = new Set(["", HealthService.typeName, ...serviceNames]);
  const status = () => (lifecycle.ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING);
  let watchers = 0;

  const service = implement(HealthService, {
    async check({ service: name }) {
      if (!names.has(name)) {
        throw AppError.notFound("service", name);
      }
      return { status: status() };
    },
    async list() {
      return { statuses: Object.fromEntries([...names].map((name) => [name, { status: status() }])) };
    },
    async *watch({ service: name }, context) {
      if (watchers >= MAX_WATCHERS) {
        throw AppError.exhausted("TOO_MANY_WATCHERS", `more than ${MAX_WATCHERS} health watchers`, 1000);
      }
      watchers += 1;
      try {
        if (!names.has(name)) {
          yield { status: ServingStatus.SERVICE_UNKNOWN };
          await raceAbort(new Promise<never>(() => {}), anySignal(context.signal, lifecycle.signal));
        }
        yield* changes(lifecycle, context);
      } finally {
        watchers -= 1;
      }
    },
  });
  return {
    service,
    get serving() {
      return lifecycle.ready;
    },
  };
}

async function* changes(lifecycle: Lifecycle, context: RpcContext) {
  let wake = () => {};
  // Only the newest status matters to a watcher, so a slow one skips what was in between.
  let sent: boolean | undefined;
  const off = lifecycle.onReady(() => wake());
  const onAbort = () => wake();
  const ends = anySignal(context.signal, lifecycle.signal);
  ends.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (lifecycle.ready !== sent) {
        sent = lifecycle.ready;
        yield { status: sent ? ServingStatus.SERVING : ServingStatus.NOT_SERVING };
        continue;
      }
      context.signal.throwIfAborted();
      // A stop turns readiness red before it fires this, so that NOT_SERVING has just been sent.
      lifecycle.signal.throwIfAborted();
      await changed;
    }
  } finally {
    off();
    ends.removeEventListener("abort", onAbort);
  }
}
