/** For tests only: a token endpoint with rotating refresh tokens and reuse detection, and faults on request. */
import { randomBytes } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** How the next answer goes wrong. `lost`: the rotation happens, the answer never arrives. */
export type OauthFault = "lost" | "500" | "html" | "no_refresh_token" | "hold";

/** A running endpoint. */
export type TestOauthServer = {
  readonly url: string;
  /** Successful rotations. */
  readonly rotations: () => number;
  /** Requests of any kind. */
  readonly requests: () => number;
  /** Times a spent refresh token was shown: the family is dead after it. */
  readonly reuses: () => number;
  /** True for an access token that works now. */
  accepts(token: string | undefined): boolean;
  /** A new grant, as after a user's consent. */
  grant(): { access_token: string; refresh_token: string };
  /** Makes every access token there is worthless. */
  expireAll(): void;
  fault(next: OauthFault): void;
  /** Lets held answers go. */
  release(): void;
  readonly holding: () => number;
  close(): Promise<void>;
};

/** With `leeway` the last spent token is answered with the same successor again, as many providers do; `answerMs` passes between the rotation and its answer. */
export async function startOauthServer(
  options: { readonly leeway?: boolean; readonly answerMs?: number } = {},
): Promise<TestOauthServer> {
  const access = new Set<string>();
  const live = new Map<string, string>();
  const spent = new Map<string, { family: string; answer: string }>();
  const dead = new Set<string>();
  const faults: OauthFault[] = [];
  const held: (() => void)[] = [];
  let rotations = 0;
  let requests = 0;
  let reuses = 0;
  const make = (kind: string) => `${kind}-${randomBytes(18).toString("hex")}`;
  const issue = (family: string) => {
    const tokens = { access_token: make("access"), refresh_token: make("refresh") };
    access.add(tokens.access_token);
    live.set(tokens.refresh_token, family);
    return tokens;
  };
  const json = (response: ServerResponse, status: number, body: string) =>
    response.writeHead(status, { "content-type": "application/json" }).end(body);

  const rotate = (token: string): { status: number; body: string } => {
    const refused = { status: 400, body: '{"error":"invalid_grant"}' };
    const before = spent.get(token);
    if (before) {
      if (options.leeway && !dead.has(before.family)) return { status: 200, body: before.answer };
      reuses += 1;
      dead.add(before.family);
      return refused;
    }
    const family = live.get(token);
    if (family === undefined || dead.has(family)) return refused;
    rotations += 1;
    live.delete(token);
    const body = JSON.stringify({ ...issue(family), token_type: "Bearer", expires_in: 3600 });
    spent.set(token, { family, answer: body });
    return { status: 200, body };
  };
  const http = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      requests += 1;
      const token = new URLSearchParams(text).get("refresh_token") ?? "";
      const fault = faults.shift();
      if (fault === "500") return json(response, 500, '{"error":"server_error"}');
      if (fault === "html") return response.writeHead(200, { "content-type": "text/html" }).end("<h1>Sign in</h1>");
      if (fault === "no_refresh_token") {
        const access_token = make("access");
        access.add(access_token);
        return json(response, 200, JSON.stringify({ access_token, token_type: "Bearer", expires_in: 3600 }));
      }
      const { status, body } = rotate(token);
      if (fault === "lost") return response.destroy();
      if (fault === "hold") return held.push(() => json(response, status, body));
      setTimeout(() => json(response, status, body), options.answerMs ?? 0);
    });
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/token`,
    rotations: () => rotations,
    requests: () => requests,
    reuses: () => reuses,
    accepts: (token) => token !== undefined && access.has(token),
    grant: () => issue(make("family")),
    expireAll: () => access.clear(),
    fault: (next) => void faults.push(next),
    release() {
      for (const go of held.splice(0)) go();
    },
    holding: () => held.length,
    async close() {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}
