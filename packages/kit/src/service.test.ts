import { describe, expect, test } from "vitest";
import { AppError } from "./errors.ts";
import { EchoService } from "./gen/manyhands/testing/v1/echo_service_pb.ts";
import { createRpcClient } from "./rpc-client.ts";
import { implement } from "./rpc-handlers.ts";
import {
  createServiceServer,
  type ServiceConfig,
  type ServiceParts,
  startService,
  testServiceConfig,
} from "./service.ts";

type Config = { readonly service: ServiceConfig };
type Deps = { readonly greeting: string };

const closed: string[] = [];
const greeter: ServiceParts<Config, Deps> = {
  createDeps(_config, { lifecycle, instanceId }, overrides = {}) {
    lifecycle.onStop("greeting", () => void closed.push(instanceId));
    return { greeting: "hello", ...overrides };
  },
  createServer: (config, { greeting }, shell) =>
    createServiceServer({
      config: config.service,
      shell,
      services: [implement(EchoService, { echoOnce: async ({ text }) => ({ text: `${greeting} ${text}` }) })],
    }),
};

async function greet(address: string | undefined): Promise<string> {
  const client = createRpcClient(EchoService, { address: address ?? "", defaultDeadlineMs: 5000 });
  try {
    return (await client.echoOnce({ text: "you" })).text;
  } finally {
    client.close();
  }
}

describe("startService", () => {
  test("two of a kind live in one process, each with its own parts, and stop apart", async () => {
    const one = await startService("greeter", greeter, { service: testServiceConfig({ instanceId: "one" }) });
    const two = await startService(
      "greeter",
      greeter,
      { service: testServiceConfig({ instanceId: "two" }) },
      { overrides: { greeting: "hi" } },
    );
    expect(await greet(one.addresses.grpc)).toBe("hello you");
    expect(await greet(two.addresses.grpc)).toBe("hi you");
    expect((await one.stop()).failed).toEqual([]);
    expect(closed).toEqual(["one"]);
    expect(await greet(two.addresses.grpc)).toBe("hi you");
    await two.stop();
    expect(closed).toEqual(["one", "two"]);
  });

  test("a step that fails stops what the steps before opened, and its error comes out", async () => {
    const broken: ServiceParts<Config, Deps> = {
      ...greeter,
      createServer() {
        throw AppError.unavailable("NO_PORT", "no port");
      },
    };
    const config = { service: testServiceConfig({ instanceId: "three" }) };
    await expect(startService("greeter", broken, config)).rejects.toMatchObject({ reason: "NO_PORT" });
    expect(closed.at(-1)).toBe("three");
  });
});
