/** Requests about environments, and the stored configuration. */
import { z } from "zod";
import type { CloudConfig, Environment, SelfHostedConfig } from "../sdk-types.ts";
import { applyPatch, metadata, metadataPatch, text } from "./common.ts";

/** What is stored of an environment; the answer's shape without id, type and times. */
export type EnvironmentConfig = Pick<Environment, "name" | "description" | "config" | "metadata">;

const hosts = z.array(text(1, 253)).max(256, "must have at most 256 hosts");
const networking = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("unrestricted") }),
    z.object({
      type: z.literal("limited"),
      allowed_hosts: hosts.nullish(),
      allow_mcp_servers: z.boolean().nullish(),
      allow_package_managers: z.boolean().nullish(),
    }),
  ],
  { error: "must be unrestricted or limited" },
);
const packageList = z.array(text(1, 256)).max(256, "must have at most 256 packages").nullish();
const packages = z.object({
  type: z.literal("packages").optional(),
  apt: packageList,
  cargo: packageList,
  gem: packageList,
  go: packageList,
  npm: packageList,
  pip: packageList,
});
const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "must be a name of letters, digits and _");
/** An extension of this platform: what the hands of the environment are made from. Absent parts are the manager's. */
const hand = z.strictObject({
  driver: text(0, 64).optional(),
  image: text(0, 512).optional(),
  env: z
    .record(envName, text(0, 4096))
    .refine((env) => Object.keys(env).length <= 64, "must have at most 64 variables")
    .optional(),
  restore_files: z.boolean().optional(),
});
const config = z.discriminatedUnion(
  "type",
  [
    z.object({
      type: z.literal("cloud"),
      networking: networking.nullish(),
      packages: packages.nullish(),
      hand: hand.nullish(),
    }),
    z.object({ type: z.literal("self_hosted") }),
  ],
  { error: "must be cloud or self_hosted" },
);
const scope = z.enum(["organization", "account"]).nullish();

/** Body of environments.create. Without `config`: cloud, unrestricted, no packages. */
export const environmentCreate = z.object({
  name: text(1, 256),
  description: text(0, 2048).nullish(),
  config: config.nullish(),
  metadata: metadata.nullish(),
  scope,
});

/** Body of environments.update: absent keeps; a metadata key is removed by null or an empty text. */
export const environmentUpdate = environmentCreate.partial().extend({
  name: text(1, 256).nullish(),
  metadata: metadataPatch.nullish(),
});

type ConfigInput = z.infer<typeof config>;

/** The stored configuration of a new environment. */
export function environmentConfigOf(input: z.infer<typeof environmentCreate>): EnvironmentConfig {
  return {
    name: input.name,
    description: input.description || null,
    config: expandConfig(input.config ?? { type: "cloud" }, emptyCloud),
    metadata: input.metadata ?? {},
  };
}

/** The configuration after an update; parts of `config` that are absent keep their value. */
export function updatedEnvironment(
  stored: EnvironmentConfig,
  input: z.infer<typeof environmentUpdate>,
): EnvironmentConfig {
  const before = stored.config.type === "cloud" ? stored.config : emptyCloud;
  return {
    name: input.name ?? stored.name,
    description: input.description === undefined ? stored.description : input.description || null,
    config: input.config ? expandConfig(input.config, before) : stored.config,
    metadata: applyPatch(stored.metadata, input.metadata, true),
  };
}

/** Rules that hold between fields of a whole configuration; one entry per problem. */
export function environmentProblems({ config: whole, metadata: pairs }: EnvironmentConfig) {
  const closed =
    whole.type === "cloud" && whole.networking.type === "limited" && !whole.networking.allow_package_managers;
  const wanted = whole.type === "cloud" && packageManagers.some((manager) => whole.packages[manager].length > 0);
  return [
    ...(closed && wanted
      ? [
          {
            field: "config.packages",
            description: "limited networking must have allow_package_managers when packages are wanted",
          },
        ]
      : []),
    ...(Object.keys(pairs).length > 16 ? [{ field: "metadata", description: "must have at most 16 pairs" }] : []),
  ];
}

const packageManagers = ["apt", "cargo", "gem", "go", "npm", "pip"] as const;
const emptyCloud: CloudConfig = {
  type: "cloud",
  networking: { type: "unrestricted" },
  packages: { type: "packages", apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] },
};

/** A cloud configuration with this platform's extension. */
type CloudWithHand = CloudConfig & { readonly hand?: z.infer<typeof hand> };

function expandConfig(input: ConfigInput, before: CloudWithHand): CloudWithHand | SelfHostedConfig {
  if (input.type === "self_hosted") return { type: "self_hosted" };
  const lists = packageManagers.map(
    (manager) => [manager, input.packages?.[manager] ?? before.packages[manager]] as const,
  );
  return {
    type: "cloud",
    networking: input.networking ? expandNetworking(input.networking, before.networking) : before.networking,
    packages: { ...before.packages, ...Object.fromEntries(lists), type: "packages" },
    ...handOf(input.hand, before.hand),
  };
}

/** `null` takes the extension away; absent keeps it. */
function handOf(input: z.infer<typeof hand> | null | undefined, before: CloudWithHand["hand"]) {
  const now = input === undefined ? before : (input ?? undefined);
  return now === undefined ? {} : { hand: now };
}

function expandNetworking(
  input: z.infer<typeof networking>,
  before: CloudConfig["networking"],
): CloudConfig["networking"] {
  if (input.type === "unrestricted") return { type: "unrestricted" };
  const limited = before.type === "limited" ? before : undefined;
  return {
    type: "limited",
    allowed_hosts: input.allowed_hosts ?? limited?.allowed_hosts ?? [],
    allow_mcp_servers: input.allow_mcp_servers ?? limited?.allow_mcp_servers ?? false,
    allow_package_managers: input.allow_package_managers ?? limited?.allow_package_managers ?? false,
  };
}
