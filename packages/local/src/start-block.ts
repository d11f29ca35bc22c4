import type { DevJson } from "./dev-json.ts";

/** The one block a person reads after a start: where everything is, and lines that work when pasted. */
export function startBlock(dev: DevJson, kept: boolean): string {
  const model = dev.model === "demo" ? "demo model, deterministic" : "real model";
  return `
Manyhands is running. Development mode: loopback only, one API key, keys in files beside the data.

  API       ${dev.gateway_url}
  API key   ${dev.api_key}
  Hands     ${dev.hands} (${dev.hands_why})
  Model     ${model} at ${dev.model_url} (${dev.model_why})
  Data      ${dev.data_dir}${kept ? "" : " (forgotten at the end)"}
  gRPC      session-store    ${dev.grpc.session_store}
            harness          ${dev.grpc.harness}
            sandbox-manager  ${dev.grpc.sandbox_manager}
            vault-proxy      ${dev.grpc.vault_proxy}
  NATS      ${dev.nats_url}

With the official SDK (npm install @anthropic-ai/sdk):

  import Anthropic from "@anthropic-ai/sdk";
  const client = new Anthropic({ baseURL: "${dev.gateway_url}", apiKey: "${dev.api_key}" });
  const agent = await client.beta.agents.create({ name: "first", model: "claude-sonnet-5" });

With curl:

  curl -s ${dev.gateway_url}/v1/agents -H "authorization: Bearer ${dev.api_key}" \\
    -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
    -d '{"name":"first","model":"claude-sonnet-5"}'

`;
}
