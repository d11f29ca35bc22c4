import { randomBytes } from "node:crypto";

const ANTHROPIC_URL = "https://api.anthropic.com";

/** Which model API the vault-proxy calls, and why. The key is only ever given to the vault-proxy. */
export interface ModelChoice {
  readonly kind: "demo" | "real";
  /** Undefined for the demo model: the supervisor knows its address. */
  readonly upstreamUrl: string | undefined;
  readonly key: string;
  readonly why: string;
}

/** The demo model unless ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL is set. Its key is made up per start, but checked like a real one. */
export function chooseModel(env: NodeJS.ProcessEnv): ModelChoice {
  const key = env.ANTHROPIC_API_KEY ?? "";
  const url = env.ANTHROPIC_BASE_URL ?? "";
  if (key === "" && url === "") {
    return {
      kind: "demo",
      upstreamUrl: undefined,
      key: `demo-model-${randomBytes(12).toString("base64url")}`,
      why: "neither ANTHROPIC_API_KEY nor ANTHROPIC_BASE_URL is set",
    };
  }
  const given = [key === "" ? "" : "ANTHROPIC_API_KEY", url === "" ? "" : "ANTHROPIC_BASE_URL"].filter(Boolean);
  return { kind: "real", upstreamUrl: url === "" ? ANTHROPIC_URL : url, key, why: `${given.join(" and ")} set` };
}
