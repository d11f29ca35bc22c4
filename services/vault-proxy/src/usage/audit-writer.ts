import { type Bus, publishCredentialUse } from "@manyhands/bus";
import { encodeEvent } from "@manyhands/protocol";
import type { Usage, UsageWriter } from "./usage.ts";

/** Writes uses, refused ones too, to the platform's audit stream. */
export function auditWriter(bus: Bus): UsageWriter {
  return {
    write: (usage) =>
      publishCredentialUse(bus, {
        sessionId: usage.session,
        workspaceId: usage.workspace,
        event: encodeEvent(credentialUsed(usage)),
      }),
  };
}

/** The event of a use. */
export function credentialUsed(usage: Usage) {
  return {
    type: "credential.used" as const,
    id: usage.id,
    credential_id: usage.credentialId,
    proxy: usage.proxy,
    host: usage.host,
    method: usage.method,
    path: usage.path,
    status: usage.status,
    request_bytes: usage.requestBytes,
    response_bytes: usage.responseBytes,
    operation_id: usage.operationId ?? "",
    ...(usage.inputTokens === undefined ? {} : { input_tokens: usage.inputTokens }),
    ...(usage.outputTokens === undefined ? {} : { output_tokens: usage.outputTokens }),
  };
}
