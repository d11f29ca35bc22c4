/** Tokens that an API makes from a credential in an exchange that runs inside a hand. */
import { connect as connectTls } from "node:tls";
import { gzipSync } from "node:zlib";
import { eventually } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type EgressBed, startEgressBed } from "../testing/egress-bed.ts";
import { WORKSPACE } from "../testing/start.ts";
import { canary } from "../testing/vault-calls.ts";

const CLIENT_SECRET = `${canary()}/+= &"`;
const OPEN = { type: "unrestricted" };
const FORM = "application/x-www-form-urlencoded";

/** A hand of one session: what it holds, and how it asks. */
type Hand = {
  readonly session: string;
  readonly vault: string;
  readonly credential: string;
  readonly placeholder: string;
  ask(request: Asked): Promise<{ head: string; body: string }>;
};
type Asked = {
  method?: string;
  path?: string;
  host?: string;
  headers?: Record<string, string>;
  body?: string;
  trust?: string;
};

describe("a token that an API makes from a credential", () => {
  let bed: EgressBed;
  let hand: Hand;
  const access = canary();
  const refresh = `${canary()}/r+1`;

  beforeAll(async () => {
    bed = await startEgressBed();
    hand = await newHand("sesn_one");
  });
  afterAll(() => bed?.stop());
  afterEach(() => {
    bed.seen.length = 0;
  });

  async function newHand(session: string): Promise<Hand> {
    const { client } = bed.vault;
    const { vault } = await client.createVault({ workspaceId: WORKSPACE, displayName: "keys" });
    const vaultId = vault?.id ?? "";
    const auth = {
      type: "environment_variable",
      secret_name: "CLIENT_SECRET",
      secret_value: CLIENT_SECRET,
      networking: { type: "limited", allowed_hosts: ["api.example.test"] },
      injection_location: { header: true, body: true },
    };
    const { credential } = await client.createCredential({
      workspaceId: WORKSPACE,
      vaultId,
      authJson: Buffer.from(JSON.stringify(auth)),
    });
    bed.policy(session, OPEN);
    await bed.bind(session, [vaultId]);
    const token = await bed.token(session);
    const described = await client.describeEgress({ sessionId: session });
    const ask: Hand["ask"] = async ({
      method = "POST",
      path = "/",
      host = "api.example.test",
      headers,
      body = "",
      trust,
    }) => {
      const { status, text, socket } = await bed.open(token, `${host}:${bed.tlsPort}`);
      expect(status, text).toBe(200);
      const trusted = trust ?? (host === "api.example.test" ? described.authorityPem : bed.upstreamCa);
      const secure = connectTls({ socket, servername: host, ca: trusted, checkServerIdentity: () => undefined });
      const lines = Object.entries({ host, connection: "close", "content-length": `${body.length}`, ...headers });
      const request = `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
      const whole = await new Promise<string>((resolve, reject) => {
        let answer = "";
        secure.on("secureConnect", () => secure.write(request));
        secure.on("data", (chunk: Buffer) => {
          answer += chunk.toString();
        });
        secure.on("error", (error) => {
          socket.destroy();
          reject(error);
        });
        secure.on("close", () => resolve(answer));
      });
      const end = whole.indexOf("\r\n\r\n");
      return { head: whole.slice(0, end), body: unchunked(whole.slice(0, end), whole.slice(end + 4)) };
    };
    return {
      session,
      vault: vaultId,
      credential: credential?.id ?? "",
      placeholder: described.variables[0]?.placeholder ?? "",
      ask,
    };
  }

  const answerWith = (type: string, text: string, more: Record<string, string> = {}) => {
    bed.answer = (_, response) => void response.writeHead(200, { "content-type": type, ...more }).end(text);
  };
  const tokens = () => JSON.stringify({ access_token: access, refresh_token: refresh, token_type: "Bearer" });
  /** Client credentials in the body, as most libraries send them. */
  const exchange = (by: Hand, more: Asked = {}) =>
    by.ask({
      path: "/token",
      headers: { "content-type": FORM },
      body: `grant_type=client_credentials&client_secret=${by.placeholder}`,
      ...more,
    });
  const placeholdersIn = (text: string) => text.match(/mhdt_[A-Za-z0-9_-]{32}/g) ?? [];

  it("reaches the hand as a placeholder only, which goes out as the token", async () => {
    answerWith("application/json", tokens());
    const { body } = await exchange(hand);
    expect(new URLSearchParams(bed.seen[0]?.body).get("client_secret")).toBe(CLIENT_SECRET);
    const answer = JSON.parse(body);
    expect(answer).toMatchObject({ token_type: "Bearer" });
    expect(placeholdersIn(body)).toEqual([answer.access_token, answer.refresh_token]);

    answerWith("text/plain", `you are ${access}, ${Buffer.from(refresh).toString("base64")}`);
    const used = await hand.ask({ headers: { authorization: `Bearer ${answer.access_token}` } });
    expect(bed.seen[1]?.headers.authorization).toBe(`Bearer ${access}`);
    expect(used.body).toContain(`you are ${answer.access_token}`);
    expect(used.body).toContain(answer.refresh_token);

    // The refresh token goes back in a form, and what it brings is kept as well.
    const second = canary();
    answerWith("application/json", JSON.stringify({ access_token: second, refresh_token: refresh }));
    const renewed = await exchange(hand, { body: `grant_type=refresh_token&refresh_token=${answer.refresh_token}` });
    expect(new URLSearchParams(bed.seen[2]?.body).get("refresh_token")).toBe(refresh);
    const { access_token, refresh_token } = JSON.parse(renewed.body);
    expect(refresh_token).toBe(answer.refresh_token);
    await hand.ask({ headers: { "x-token": access_token } });
    expect(bed.seen[3]?.headers["x-token"]).toBe(second);

    const said = [body, used.body, renewed.body, bed.vault.logs, bed.vault.audit, bed.vault.events];
    for (const secret of [access, refresh, second, CLIENT_SECRET]) expect(JSON.stringify(said)).not.toContain(secret);
    await eventually(() => bed.vault.events.filter(({ path }) => path === "/token").length === 2);
    expect(bed.vault.events.every(({ credentialId }) => credentialId === hand.credential)).toBe(true);
  });

  it.each<[string, () => void]>([
    [
      "form-encoded",
      () => answerWith(FORM, new URLSearchParams({ access_token: access, id_token: refresh }).toString()),
    ],
    ["gzip that nobody asked for", () => answerGzip()],
    ["in chunks, cut inside the token", () => answerInPieces()],
    [
      "with a length that changes",
      () => answerWith("application/json", tokens(), { "content-length": `${tokens().length}` }),
    ],
    [
      "nested, and repeated beside it",
      () => answerWith("application/json", `{"a":{"access_token":"${access}"},"b":"${access}"}`),
    ],
    [
      "in a redirect's fragment",
      () => answerWith("text/plain", "", { location: `/cb#access_token=${access}&state=1` }),
    ],
    ["inside a text of JSON", () => answerWith("application/json", JSON.stringify({ status: 200, body: tokens() }))],
    ["under another name", () => answerWith("application/json", `{"data":{"sessionToken":"${access}"}}`)],
    ["in XML", () => answerWith("text/xml", `<R><SecretAccessKey>${access}</SecretAccessKey></R>`)],
    ["in a header", () => answerWith("text/plain", "", { "x-subject-token": access })],
    [
      "in an error",
      () => {
        bed.answer = (_, response) =>
          void response.writeHead(400, { "content-type": "application/json" }).end(tokens());
      },
    ],
  ])("is found %s", async (_, prepare) => {
    prepare();
    const { head, body } = await exchange(hand);
    expect(placeholdersIn(head + body).length).toBeGreaterThanOrEqual(1);
    for (const secret of [access, refresh, encodeURIComponent(refresh)]) expect(head + body).not.toContain(secret);
    expect(head).not.toMatch(/^content-length: /im);
    expect(head).not.toMatch(/^content-encoding: /im);
  });

  const answerGzip = () => {
    bed.answer = (_, response) =>
      void response
        .writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        .end(gzipSync(tokens()));
  };
  const answerInPieces = () => {
    bed.answer = (_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const text = tokens();
      const cutAt = text.indexOf(access) + 5;
      response.write(text.slice(0, cutAt), () => setImmediate(() => response.end(text.slice(cutAt))));
    };
  };

  it("of a client that shows its secret in Basic, or signs with it, is found as well", async () => {
    answerWith("application/json", tokens());
    const basic = Buffer.from(`client:${hand.placeholder}`).toString("base64");
    const { body } = await exchange(hand, { headers: { authorization: `Basic ${basic}` }, body: "" });
    expect(body).not.toContain(access);
    expect(placeholdersIn(body)).toHaveLength(2);
  });

  it("is the hand's own where no credential went in", async () => {
    const own = canary();
    answerWith("application/json", JSON.stringify({ access_token: own }));
    const { body } = await exchange(hand, { body: "grant_type=password&username=me" });
    expect(JSON.parse(body)).toEqual({ access_token: own });
  });

  it("does not come in floods: an answer with more of them than a session may have ends", async () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, n) => `{"access_token":"${access}-${n}"}`).join("\n");
    const flooded = await newHand("sesn_flood");
    answerWith("application/x-ndjson", many(32));
    expect(placeholdersIn((await exchange(flooded)).body), "control").toHaveLength(32);
    answerWith("application/x-ndjson", many(33));
    expect((await exchange(flooded)).body).not.toContain(access);
    answerWith("application/json", `[${Array.from({ length: 5000 }, () => `{"id_token":"${refresh}"}`).join()}]`);
    expect(new Set(placeholdersIn((await exchange(flooded)).body)).size, "the same one is one").toBe(1);
  });

  it("is refused when its answer is packed so that nobody can look into it", async () => {
    answerWith("application/json", tokens(), { "content-encoding": "compress" });
    const { head, body } = await exchange(hand);
    expect(head).toMatch(/^HTTP\/1.1 502/);
    expect(body).toContain("packed in a way that is not known here");
  });

  it("is of no use in another session, in a URL, or where its credential may not go", async () => {
    answerWith("application/json", tokens());
    const [placeholder = ""] = placeholdersIn((await exchange(hand)).body);
    const other = await newHand("sesn_two");
    answerWith("text/plain", "hello");
    await other.ask({ headers: { "x-token": placeholder } });
    expect(bed.seen.at(-1)?.headers["x-token"]).toBe(placeholder);
    await hand.ask({ path: `/?t=${placeholder}` });
    expect(bed.seen.at(-1)?.url).toBe(`/?t=${placeholder}`);
    await hand.ask({ host: "other.example.test", headers: { "x-token": placeholder } });
    expect(bed.seen.at(-1)?.headers["x-token"]).toBe(placeholder);
    await hand.ask({ headers: { "x-token": placeholder } });
    expect(bed.seen.at(-1)?.headers["x-token"], "control").toBe(access);
  });

  it("is of no use once its credential is archived, and gone with its session", async () => {
    const short = await newHand("sesn_short");
    answerWith("application/json", tokens());
    const [placeholder = ""] = placeholdersIn((await exchange(short)).body);
    expect(await bed.vault.buckets.secrets.get("derived.sesn_short")).toBeDefined();
    await bed.vault.client.archiveCredential({
      workspaceId: WORKSPACE,
      vaultId: short.vault,
      credentialId: short.credential,
    });
    answerWith("text/plain", "hello");
    // Within the moment that answers are remembered for; then its host is not looked into any more.
    await eventually(() =>
      short.ask({ trust: bed.upstreamCa, headers: { "x-token": placeholder } }).then(
        () => true,
        () => false,
      ),
    );
    expect(bed.seen.at(-1)?.headers["x-token"]).toBe(placeholder);
    await bed.vault.client.revokeSession({ sessionId: "sesn_short" });
    expect(await bed.vault.buckets.secrets.get("derived.sesn_short")).toBeUndefined();
  });

  it("that comes while its session ends is not kept", async () => {
    const ending = await newHand("sesn_ending");
    bed.answer = (_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"access_token":"');
      void bed.vault.client.revokeSession({ sessionId: "sesn_ending" }).then(() => response.end(`${access}"}`));
    };
    const answer = await exchange(ending).catch(() => ({ head: "", body: "" }));
    expect(answer.body).not.toContain(access);
    expect(await bed.vault.buckets.secrets.get("derived.sesn_ending")).toBeUndefined();
  });
});

function unchunked(head: string, body: string): string {
  if (!/^transfer-encoding: chunked/im.test(head)) return body;
  let text = "";
  let rest = body;
  for (let length = Number.parseInt(rest, 16); length > 0; length = Number.parseInt(rest, 16)) {
    const from = rest.indexOf("\r\n") + 2;
    text += rest.slice(from, from + length);
    rest = rest.slice(from + length + 2);
  }
  return text;
}
