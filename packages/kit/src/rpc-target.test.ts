import { eventually } from "@manyhands/testkit";
import { describe, expect, test } from "vitest";
import { EchoService } from "./gen/manyhands/testing/v1/echo_service_pb.ts";
import { createRpcClient } from "./rpc-client.ts";
import { rpcTarget } from "./rpc-target.ts";
import { failureOfCall, startEcho } from "./testing/echo.ts";

const portOf = (address: string) => address.slice(address.lastIndexOf(":") + 1);
const named = (name: string) => startEcho({ echoOnce: async () => ({ text: name }) });

describe("addresses", () => {
  test("settings become targets; nonsense is named", () => {
    expect(rpcTarget("127.0.0.1:1")).toBe("dns:///127.0.0.1:1");
    expect(rpcTarget("dns:///store:50051")).toBe("dns:///store:50051");
    expect(rpcTarget("ipv4:127.0.0.1:1,127.0.0.1:2")).toBe("ipv4:127.0.0.1:1,127.0.0.1:2");
    expect(rpcTarget("a:1, b:2")).toBe("mh-list:a:1,b:2");
    expect(() => rpcTarget("a:1,b")).toThrow('"b"');
    expect(() => rpcTarget("")).toThrow("host:port");
  });

  test.each([
    ["a list of names", (a: string, b: string) => `localhost:${portOf(a)},localhost:${portOf(b)}`],
    ["a list of IPs", (a: string, b: string) => `${a},${b}`],
    ["an ipv4 target", (a: string, b: string) => `ipv4:${a},${b}`],
  ])("%s is called round robin, and goes on with the rest when one dies", async (_name, addressOf) => {
    await using one = await named("one");
    await using two = await named("two");
    const address = addressOf(one.address, two.address);
    const client = createRpcClient(EchoService, { address, defaultDeadlineMs: 5000, retryReads: ["echoOnce"] });
    const ask = async () => (await client.echoOnce({}, { waitForReady: true })).text;
    const seen = new Set<string>();
    await eventually(async () => seen.add(await ask()).size === 2);
    await one.lifecycle.stop("test");
    const after = new Set<string>();
    for (let call = 0; call < 20; call += 1) {
      after.add(await ask());
    }
    expect([...after]).toEqual(["two"]);
    client.close();
  });

  test("nobody there is unavailable and says so at once", async () => {
    const client = createRpcClient(EchoService, { address: "localhost:1,localhost:2", defaultDeadlineMs: 5000 });
    const error = await failureOfCall(client.echoOnce({}));
    expect([error.kind, error.reason, error.retry]).toEqual(["unavailable", "UNAVAILABLE", "now"]);
    client.close();
  });

  test("a name that does not resolve is unavailable", async () => {
    const client = createRpcClient(EchoService, { address: "no.invalid:1,none.invalid:2", defaultDeadlineMs: 20_000 });
    const error = await failureOfCall(client.echoOnce({}));
    expect(error.kind).toBe("unavailable");
    expect(error.message).toContain("none of no.invalid:1, none.invalid:2 resolves");
    client.close();
  });

  test("a call that waits for a connection gets through when the peer comes up", async () => {
    const first = await named("first");
    const { address } = first;
    await first[Symbol.asyncDispose]();
    const client = createRpcClient(EchoService, { address, defaultDeadlineMs: 5000 });
    expect((await failureOfCall(client.echoOnce({}))).kind).toBe("unavailable");
    const waiting = client.echoOnce({}, { waitForReady: true, deadlineMs: 20_000 });
    await using _second = await startEcho({ echoOnce: async () => ({ text: "second" }) }, { listen: address });
    expect((await waiting).text).toBe("second");
    client.close();
  });
});
