/** Requests about vaults and credentials. Secrets pass through to vault-proxy and are kept nowhere else. */
import { z } from "zod";
import { httpUrl, metadata, metadataPatch, text } from "./common.ts";

const displayName = text(1, 255);
const secret = text(1, 16_384);
const time = z.iso.datetime({ offset: true, error: "must be an RFC 3339 time" });
const clientSecretTypes = { error: "must be one of none, client_secret_basic, client_secret_post" };

/** Body of vaults.create. */
export const vaultCreate = z.object({ display_name: displayName, metadata: metadata.nullish() });

/** Body of vaults.update. */
export const vaultUpdate = z.object({ display_name: displayName.nullish(), metadata: metadataPatch.nullish() });

const hostPattern =
  /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$|^\d{1,3}(\.\d{1,3}){3}$/i;
const networking = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("unrestricted") }),
    z.object({
      type: z.literal("limited"),
      allowed_hosts: z
        .array(text(1, 253).regex(hostPattern, "must be a host name, an IPv4 address or *.name"))
        .min(1, "must not be empty")
        .max(16, "must have at most 16 hosts"),
    }),
  ],
  { error: "must be unrestricted or limited" },
);
const injection = z
  .object({ header: z.boolean().optional(), body: z.boolean().optional() })
  .refine(({ header, body }) => header !== false || body !== false, "must leave header or body on");

const endpointAuth = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("none") }),
    z.object({ type: z.literal("client_secret_basic"), client_secret: secret }),
    z.object({ type: z.literal("client_secret_post"), client_secret: secret }),
  ],
  clientSecretTypes,
);
const endpointAuthUpdate = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("client_secret_basic"), client_secret: secret.nullish() }),
    z.object({ type: z.literal("client_secret_post"), client_secret: secret.nullish() }),
  ],
  { error: "must be client_secret_basic or client_secret_post" },
);

const authTypes = { error: "must be one of static_bearer, mcp_oauth, environment_variable" };

/** Body of vaults.credentials.create. */
export const credentialCreate = z.object({
  display_name: text(0, 255).nullish(),
  metadata: metadata.nullish(),
  auth: z.discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("static_bearer"), mcp_server_url: httpUrl, token: secret }),
      z.object({
        type: z.literal("mcp_oauth"),
        mcp_server_url: httpUrl,
        access_token: secret,
        expires_at: time.nullish(),
        refresh: z
          .object({
            client_id: text(1, 2048),
            refresh_token: secret,
            token_endpoint: httpUrl,
            token_endpoint_auth: endpointAuth,
            resource: text(1, 2048).nullish(),
            scope: text(0, 2048).nullish(),
          })
          .nullish(),
      }),
      z.object({
        type: z.literal("environment_variable"),
        secret_name: text(1, 255).regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a name of letters, digits and _"),
        secret_value: secret,
        networking,
        injection_location: injection.optional(),
      }),
    ],
    authTypes,
  ),
});

/** Body of vaults.credentials.update: what is absent stays, secrets too. */
export const credentialUpdate = z.object({
  display_name: text(0, 255).nullish(),
  metadata: metadataPatch.nullish(),
  auth: z
    .discriminatedUnion(
      "type",
      [
        z.object({ type: z.literal("static_bearer"), token: secret.nullish() }),
        z.object({
          type: z.literal("mcp_oauth"),
          access_token: secret.nullish(),
          expires_at: time.nullish(),
          refresh: z
            .object({
              refresh_token: secret.nullish(),
              scope: text(0, 2048).nullish(),
              token_endpoint_auth: endpointAuthUpdate.optional(),
            })
            .nullish(),
        }),
        z.object({
          type: z.literal("environment_variable"),
          secret_value: secret.nullish(),
          networking: networking.nullish(),
          injection_location: injection.optional(),
        }),
      ],
      authTypes,
    )
    .optional(),
});
