import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** One process part's metrics: what the RPC layer records, and the registry for a service's own. */
export type Metrics = {
  /** Where a service registers its own counters, gauges and histograms. */
  readonly registry: Registry;
  /** Handled calls by method and code. */
  readonly rpcServed: Counter<"method" | "code">;
  /** Seconds from the start of a handled call to its status. */
  readonly rpcServedSeconds: Histogram<"method" | "code">;
  /** Calls running now. */
  readonly rpcRunning: Gauge<"method">;
  /** Calls made to others by method and code. */
  readonly rpcCalled: Counter<"method" | "code">;
  /** Seconds from the start of a made call to its status. */
  readonly rpcCalledSeconds: Histogram<"method" | "code">;
};

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Metrics with their own registry (never prom-client's global one). `processMetrics` adds memory, CPU, event loop. */
export function createMetrics(options: { readonly processMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.processMetrics) {
    collectDefaultMetrics({ register: registry });
  }
  const registers = [registry];
  const labelNames = ["method", "code"] as const;
  return {
    registry,
    rpcServed: new Counter({ name: "mh_rpc_served_total", help: "Handled calls.", labelNames, registers }),
    rpcServedSeconds: new Histogram({
      name: "mh_rpc_served_seconds",
      help: "Seconds from the start of a handled call to its status.",
      labelNames,
      buckets: SECONDS,
      registers,
    }),
    rpcRunning: new Gauge({ name: "mh_rpc_running", help: "Calls running now.", labelNames: ["method"], registers }),
    rpcCalled: new Counter({ name: "mh_rpc_called_total", help: "Calls made to others.", labelNames, registers }),
    rpcCalledSeconds: new Histogram({
      name: "mh_rpc_called_seconds",
      help: "Seconds from the start of a made call to its status.",
      labelNames,
      buckets: SECONDS,
      registers,
    }),
  };
}

/** A counter of a service's own, exported beside what the RPC layer records. */
export function addCounter<L extends string>(
  metrics: Metrics,
  options: { readonly name: string; readonly help: string; readonly labelNames: readonly L[] },
): { inc(labels: Record<L, string>, value: number): void } {
  const counter = new Counter({ ...options, registers: [metrics.registry] });
  return { inc: (labels, value) => counter.inc(labels, value) };
}
