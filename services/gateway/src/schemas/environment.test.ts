import { expect, test } from "vitest";
import {
  environmentConfigOf,
  environmentCreate,
  environmentProblems,
  environmentUpdate,
  updatedEnvironment,
} from "./environment.ts";

const create = (input: object) => environmentConfigOf(environmentCreate.parse({ name: "e", ...input }));
const none = { type: "packages", apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] };

test("without config: cloud, unrestricted, no packages", () => {
  expect(create({}).config).toEqual({ type: "cloud", networking: { type: "unrestricted" }, packages: none });
});

test("limited networking denies what it does not name", () => {
  expect(create({ config: { type: "cloud", networking: { type: "limited" } } }).config).toMatchObject({
    networking: { type: "limited", allowed_hosts: [], allow_mcp_servers: false, allow_package_managers: false },
  });
});

test("an update keeps what is absent, also inside the configuration", () => {
  const stored = create({
    config: {
      type: "cloud",
      networking: { type: "limited", allowed_hosts: ["a.example"], allow_package_managers: true },
      packages: { apt: ["git"] },
    },
    metadata: { a: "1", b: "2" },
  });
  const update = (input: object) => updatedEnvironment(stored, environmentUpdate.parse(input));
  expect(update({ description: "d" })).toEqual({ ...stored, description: "d" });
  expect(update({ config: { type: "cloud", packages: { npm: ["tsx"] } } }).config).toEqual({
    ...stored.config,
    packages: { ...none, apt: ["git"], npm: ["tsx"] },
  });
  expect(
    update({ config: { type: "cloud", networking: { type: "limited", allow_mcp_servers: true } } }).config,
  ).toMatchObject({
    networking: { allowed_hosts: ["a.example"], allow_mcp_servers: true, allow_package_managers: true },
  });
  expect(update({ metadata: { a: "", b: null } }).metadata).toEqual({});
});

test("packages need their registries", () => {
  const closed = create({
    config: { type: "cloud", networking: { type: "limited" }, packages: { pip: ["requests"] } },
  });
  expect(environmentProblems(closed).map(({ field }) => field)).toEqual(["config.packages"]);
  expect(environmentProblems(create({ config: { type: "self_hosted" } }))).toEqual([]);
});

test("what hands are made from is kept through updates until it is taken away", () => {
  const hand = { driver: "bus", image: "adventure", env: { A: "1" }, restore_files: true };
  const stored = create({ config: { type: "cloud", hand } });
  const update = (input: object) => updatedEnvironment(stored, environmentUpdate.parse(input)).config;
  expect(stored.config).toMatchObject({ hand });
  expect(update({ config: { type: "cloud", packages: { apt: ["git"] } } })).toMatchObject({ hand });
  expect(update({ config: { type: "cloud", hand: null } })).not.toHaveProperty("hand");
  expect(() => create({ config: { type: "cloud", hand: { secret: "x" } } })).toThrow(/secret/);
  expect(() => create({ config: { type: "cloud", hand: { env: { "a b": "x" } } } })).toThrow(/letters, digits/);
});
