import { addCounter, type Metrics } from "@manyhands/kit";
import type { Model } from "./model.ts";

/**
 * The model with its requests and tokens counted: `mh_model_requests_total{model,end}` and
 * `mh_model_tokens_total{model,kind}`. The cache hit rate is cache_read / (input + cache_read + cache_write).
 */
export function countedModel(model: Model, metrics: Metrics): Model {
  const requests = addCounter(metrics, {
    name: "mh_model_requests_total",
    help: "Model requests by how they ended.",
    labelNames: ["model", "end"],
  });
  const tokens = addCounter(metrics, {
    name: "mh_model_tokens_total",
    help: "Tokens as the provider counts them.",
    labelNames: ["model", "kind"],
  });
  return {
    prepare: (sessionId) => model.prepare(sessionId),
    async ask(sessionId, request, listener, signal) {
      const end = await model.ask(sessionId, request, listener, signal);
      const of = request.model;
      requests.inc({ model: of, end: end.type === "response" ? "response" : end.failure.kind }, 1);
      if (end.type === "response") {
        const { usage } = end.response;
        tokens.inc({ model: of, kind: "input" }, usage.input_tokens);
        tokens.inc({ model: of, kind: "output" }, usage.output_tokens);
        tokens.inc({ model: of, kind: "cache_read" }, usage.cache_read_input_tokens);
        tokens.inc({ model: of, kind: "cache_write" }, usage.cache_creation_input_tokens);
      }
      return end;
    },
  };
}
