import { describe, expect, it } from "vitest";
import { readConfig } from "./config.ts";
import { createPass, faultPoints, parseFaultChoice } from "./fault-points.ts";

const needed = {
  MH_SESSION_STORE_ADDR: "127.0.0.1:1",
  MH_SANDBOX_MANAGER_ADDR: "127.0.0.1:2",
  MH_VAULT_PROXY_ADDR: "127.0.0.1:3",
  MH_MODEL_PROXY_URL: "http://127.0.0.1:4",
};

describe("the setting", () => {
  it("is refused unless this is development", () => {
    expect(() => readConfig({ ...needed, MH_FAULT_POINT: "after_wake" })).toThrow(/refused unless MH_DEVELOPMENT/);
    const env = { ...needed, MH_DEVELOPMENT: "true", MH_FAULT_POINT: "after_wake@2" };
    expect(readConfig(env).fault).toEqual({ point: "after_wake", passing: 2 });
  });

  it("names what is known when a name is not", () => {
    const env = { ...needed, MH_DEVELOPMENT: "true", MH_FAULT_POINT: "somewhere" };
    expect(() => readConfig(env)).toThrow(/after_wake.*after_idle_append/);
    expect(() => parseFaultChoice("after_wake@0")).toThrow();
  });

  it("lists every missing address at once", () => {
    expect(() => readConfig({})).toThrow(
      /MH_SESSION_STORE_ADDR[\s\S]*MH_SANDBOX_MANAGER_ADDR[\s\S]*MH_MODEL_PROXY_URL/,
    );
  });
});

describe("passing", () => {
  it("does nothing when nothing was chosen, or another place", () => {
    for (const point of Object.keys(faultPoints) as (keyof typeof faultPoints)[]) createPass(undefined)(point);
    createPass({ point: "after_wake", passing: 2 })("after_wake");
  });
});
