import type { Environment as StoredEnvironment } from "@manyhands/protocol";
import type { EnvironmentConfig } from "../schemas/environment.ts";
import type { Environment } from "../sdk-types.ts";
import { fromJsonBytes, rfc3339, rfc3339OrNull } from "./json-bytes.ts";

/** The stored configuration of an environment. */
export function environmentConfig(stored: StoredEnvironment): EnvironmentConfig {
  return fromJsonBytes<EnvironmentConfig>(stored.configJson, {
    name: "",
    description: null,
    config: { type: "self_hosted" },
    metadata: {},
  });
}

/** An environment as the public API shows it. */
export function toEnvironment(stored: StoredEnvironment): Environment {
  return {
    id: stored.id,
    type: "environment",
    ...environmentConfig(stored),
    scope: "organization",
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
  };
}
