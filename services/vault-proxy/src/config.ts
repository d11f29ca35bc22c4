import { type Env, type EnvReader, readEnv, readServiceConfig, type Secret, type ServiceConfig } from "@manyhands/kit";
import type { KeyPlace } from "./crypto/key-source.ts";
import { isAddressRange } from "./egress/addresses.ts";

/** Settings of this service. */
export type Config = {
  readonly service: ServiceConfig;
  readonly natsUrl: string;
  /** Copies of each stream and bucket in the cluster. */
  readonly natsReplicas: number;
  readonly sessionStoreAddress: string;
  /** Where the key-encryption key is, and files of keys that only open. */
  readonly key: KeyPlace;
  readonly otherKeyFiles: readonly string[];
  readonly model: {
    readonly listen: string;
    readonly upstreamUrl: string;
    /** The platform's own, tried in this order; none when the upstream asks for none. */
    readonly apiKeys: readonly Secret[];
  };
  readonly git: { readonly listen: string };
  readonly egress: {
    readonly listen: string;
    /** Ranges that hands may reach although they are not on the public internet. */
    readonly privateRanges: readonly string[];
  };
  readonly mcp: {
    /** Ranges that MCP servers and token endpoints may be in although they are not on the public internet. */
    readonly privateRanges: readonly string[];
    /** `<server url>#<tool>` or `<server url>#*`. */
    readonly idempotentTools: readonly string[];
    /** How long a dead process's receipt and refresh keep others waiting. */
    readonly leases: { readonly receiptMs: number; readonly refreshMs: number };
  };
};

const anthropicUrl = "https://api.anthropic.com";

/** Reads the settings; throws a ConfigError with every problem at once. */
export function readConfig(env: Env): Config {
  const reader = readEnv(env);
  const model = readModel(reader);
  const config: Config = {
    service: readServiceConfig(reader),
    natsUrl: reader.string("MH_NATS_URL", {
      default: "nats://127.0.0.1:4222",
      doc: "NATS servers, several by comma: nats://host:port.",
    }),
    natsReplicas: reader.integer("MH_NATS_REPLICAS", {
      default: 1,
      min: 1,
      max: 5,
      doc: "Copies of each bucket in the NATS cluster: 1 in development, 3 in production.",
    }),
    sessionStoreAddress: reader.string("MH_SESSION_STORE_ADDR", {
      doc: "gRPC address of session-store: host:port, several by comma, or dns:///name:port.",
    }),
    key: readKeyPlace(reader),
    otherKeyFiles: reader.list("MH_VAULT_OTHER_KEY_FILES", {
      default: [],
      max: 8,
      doc: "Files of keys that only open what they sealed, by comma: the old ones, or the next one, during a rotation.",
    }),
    model: {
      listen: reader.address("MH_MODEL_LISTEN", {
        default: "127.0.0.1:0",
        doc: "Where the model proxy listens (HTTP); the harness sends its model requests here.",
      }),
      ...model,
    },
    git: {
      listen: reader.address("MH_GIT_LISTEN", {
        default: "127.0.0.1:0",
        doc: "Where hands' tunnels arrive, for git and egress (TCP, one line with the session token, then HTTP).",
      }),
    },
    egress: {
      listen: reader.address("MH_EGRESS_LISTEN", {
        default: "127.0.0.1:0",
        doc: "Where the egress proxy listens for the harness's web tools (HTTP forward proxy, bearer session token).",
      }),
      privateRanges: readRanges(reader, "MH_EGRESS_PRIVATE_RANGES", "hands may reach when their policy names the host"),
    },
    mcp: {
      privateRanges: readRanges(reader, "MH_MCP_PRIVATE_RANGES", "MCP servers and OAuth token endpoints may be in"),
      leases: {
        receiptMs: reader.integer("MH_RECEIPT_LEASE_MS", {
          default: 6000,
          min: 500,
          max: 60_000,
          doc: "A process that has not renewed a tool call's receipt for so long counts as dead; the outcome is unknown.",
        }),
        refreshMs: reader.integer("MH_REFRESH_LEASE_MS", {
          default: 20_000,
          min: 1000,
          max: 120_000,
          doc: "A process that refreshes OAuth tokens counts as dead after so long; three quarters of it bound the request.",
        }),
      },
      idempotentTools: reader.list("MH_MCP_IDEMPOTENT_TOOLS", {
        default: [],
        max: 1000,
        doc: "MCP tools that may be called again when an answer was lost: <server url>#<tool> or <server url>#*, by comma.",
      }),
    },
  };
  reader.done();
  return config;
}

/** Exactly one of three. */
function readKeyPlace(reader: EnvReader): KeyPlace {
  const path = reader.optional("MH_VAULT_KEY_FILE", {
    doc: "File with the key that seals all secrets: 32 random bytes in base64, mode 0600 or 0400. Losing it loses them.",
  });
  const value = reader.optionalSecret("MH_VAULT_KEY_BASE64", { doc: "The same key itself, instead of a file." });
  const argv = reader.list("MH_VAULT_KEY_COMMAND", {
    default: [],
    max: 32,
    doc: "Command that prints the same key in base64, for instance by a KMS: program and arguments by comma, no shell.",
  });
  const places: KeyPlace[] = [
    ...(path === undefined ? [] : [{ type: "file" as const, path }]),
    ...(value === undefined ? [] : [{ type: "environment" as const, value }]),
    ...(argv.length === 0 ? [] : [{ type: "command" as const, argv }]),
  ];
  if (places.length !== 1) {
    reader.problem("exactly one of MH_VAULT_KEY_FILE, MH_VAULT_KEY_BASE64 and MH_VAULT_KEY_COMMAND is required");
  }
  return places[0] ?? { type: "file", path: "" };
}

function readRanges(reader: EnvReader, name: string, purpose: string): readonly string[] {
  const ranges = reader.list(name, {
    default: [],
    doc: `Private ranges ${purpose}: 10.1.0.0/16, by comma. None by default.`,
  });
  for (const range of ranges) {
    if (!isAddressRange(range)) reader.problem(`${name}: ${range} is not a range like 10.1.0.0/16`);
  }
  return ranges;
}

/** A named address wins; else a key means the real API; else the demo model answers, by its own key, where there is one. */
function readModel(reader: EnvReader): Pick<Config["model"], "upstreamUrl" | "apiKeys"> {
  const protocols = ["https:", "http:"];
  const named = reader.url("MH_MODEL_UPSTREAM_URL", {
    default: "",
    protocols,
    doc: `Base URL of the model API that requests are sent on to; absent = ${anthropicUrl}, or the demo model.`,
  });
  const demoUrl = reader.url("MH_DEMO_MODEL_URL", {
    default: "",
    protocols,
    doc: "Base URL of a demo model, used when there is neither a key nor MH_MODEL_UPSTREAM_URL.",
  });
  const key = readKey(reader, "MH_MODEL_API_KEY", "Key of the model API, added outside of harness and sandbox.");
  const demoKey = readKey(reader, "MH_DEMO_MODEL_KEY", "Key of the demo model.");
  const second = readKey(reader, "MH_MODEL_API_KEY_2", "A second key, used when the first is refused or throttled.");
  if (named === "" && key === undefined && demoUrl !== "") {
    return { upstreamUrl: demoUrl, apiKeys: demoKey === undefined ? [] : [demoKey] };
  }
  return { upstreamUrl: named || anthropicUrl, apiKeys: [key, second].filter((one) => one !== undefined) };
}

/** A deployment without a key may still mount the file, empty. */
function readKey(reader: EnvReader, name: string, doc: string): Secret | undefined {
  const secret = reader.optionalSecret(name, { doc });
  if (secret === undefined || secret.isEmpty) return undefined;
  if (/[\r\n\0]/.test(secret.reveal())) reader.problem(`${name} must be one line`);
  return secret;
}
