import { Secret } from "@manyhands/kit";
import { fakeClock } from "@manyhands/testkit";
import { SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, it } from "vitest";
import { type SigningKey, sessionTokens, type TokenAudience } from "./session-tokens.ts";

const key = (fill: number): SigningKey => ({ id: "1", secret: new Secret(Buffer.alloc(32, fill).toString("base64")) });
const clock = fakeClock();
const tokens = sessionTokens(key(1), clock);
const who = { session: "sesn_1", workspace: "wrkspc_1", audiences: ["model", "git"] as TokenAudience[] };

describe("session tokens", () => {
  it("say who they are for, what for, and until when", async () => {
    const { token, expiresAtMs } = await tokens.mint(who, 60_000);
    expect(expiresAtMs).toBe(clock.nowMs() + 60_000);
    const claims = await tokens.verify(token, "git");
    expect(claims).toMatchObject({ ...who, expiresAtMs });
    expect(claims.tokenId).toMatch(/^mst_/);
  });

  it("end at their time, and never live longer than an hour", async () => {
    const own = fakeClock();
    const mine = sessionTokens(key(1), own);
    const { token } = await mine.mint(who, 60_000);
    await own.advance(59_000);
    await mine.verify(token, "model");
    await own.advance(2000);
    await expect(mine.verify(token, "model")).rejects.toMatchObject({ kind: "unauthenticated", message: /expired/ });
    expect((await mine.mint(who, 10 * 3_600_000)).expiresAtMs).toBe(Math.floor(own.nowMs() / 1000) * 1000 + 3_600_000);
  });

  it("are not for what they do not name", async () => {
    const { token } = await tokens.mint(who, 60_000);
    await expect(tokens.verify(token, "mcp")).rejects.toMatchObject({ kind: "denied", reason: "TOKEN_WRONG_AUDIENCE" });
  });

  it("are refused with another key, another algorithm, another type, or none", async () => {
    const claims = { ws: "wrkspc_1" };
    const bytes = Buffer.alloc(32, 1);
    const make = (typ: string, alg: string, issuer: string) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg, typ, kid: "1" })
        .setIssuer(issuer)
        .setSubject("sesn_1")
        .setAudience("model")
        .setJti("x")
        .setExpirationTime(Math.floor(clock.nowMs() / 1000) + 60)
        .sign(alg === "HS512" ? Buffer.alloc(64, 1) : bytes);
    await tokens.verify(await make("mh-session+jwt", "HS256", "manyhands"), "model");
    const bad = [
      await make("JWT", "HS256", "manyhands"),
      await make("mh-session+jwt", "HS512", "manyhands"),
      await make("mh-session+jwt", "HS256", "other"),
      new UnsecuredJWT(claims).setSubject("sesn_1").setAudience("model").encode(),
      (await sessionTokens(key(2), clock).mint(who, 60_000)).token,
      "",
      "a.b.c",
      "x".repeat(5000),
    ];
    for (const token of bad) {
      await expect(tokens.verify(token, "model")).rejects.toMatchObject({ kind: "unauthenticated" });
    }
  });
});
