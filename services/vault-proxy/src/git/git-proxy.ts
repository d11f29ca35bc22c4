/**
 * Smart HTTP for the repositories of one session, and nothing else. The token is added here, outside of the hand.
 *
 * S1 what is asked for is decided once, on the parsed form, and only that form is sent on. S2 only repositories bound
 * to the token's session. S3 a push needs `allow_push` in both of its requests. S4 no credential follows a redirect.
 * S5 bodies of error answers are replaced: a host that echoes a header cannot leak it. S6 what a push wants to move is
 * noted before its first byte is sent on, so that the truth about it can be found out when its answer is lost.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Clock, type Logger, newId, type Secret, toAppError } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import { type ByteCount, ClientGone, clientGone, failureCode, sendBack, sendOn } from "../http/relay.ts";
import { sessionSlots } from "../http/session-slots.ts";
import { type GitRequest, gitSuffix, parseGitRequest } from "../policy/git-request.ts";
import { type CleanHeaders, onlyHeaders, withoutSecret } from "../policy/headers.ts";
import { originOf } from "../policy/repository-url.ts";
import type { BindingStore, BoundRepository } from "../store/binding-store.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import type { Usage, UsageSink } from "../usage/usage.ts";
import type { GitHandler } from "./git-listener.ts";
import { peekCommands } from "./peek-commands.ts";
import type { Push, Pushes } from "./pushes.ts";

/** What the proxy needs. */
export type GitProxyDeps = {
  readonly guard: Pick<SessionGuard, "admit" | "onRevoked">;
  readonly bindings: Pick<BindingStore, "repository">;
  readonly pushes: Pick<Pushes, "begin">;
  readonly dispatcher: Dispatcher;
  readonly usage: UsageSink;
  readonly logger: Logger;
  readonly clock: Pick<Clock, "nowMs">;
};

const MAX_PUSH_BYTES = 4 * 1024 ** 3;
const REQUESTS_PER_SESSION = 32;
const SENT_ON = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "content-encoding",
  "content-length",
  "content-type",
  "git-protocol",
  "user-agent",
]);
const SENT_BACK = new Set(["cache-control", "content-encoding", "content-length", "content-type", "expires", "pragma"]);

/** The handler of the git listener. */
export function gitProxy(deps: GitProxyDeps): GitHandler {
  const slots = sessionSlots(REQUESTS_PER_SESSION);
  return async (token, request, response) => {
    const refusal = await prepare(deps, token, request);
    if ("refuse" in refusal) {
      refuse(response, request, refusal.refuse.status, refusal.refuse.message);
      if (refusal.refuse.claims) {
        deps.usage.record(usageOf(deps, refusal.refuse.claims, request, { outcome: "refused" }));
      }
      return;
    }
    const giveBack = slots.take(refusal.claims.session);
    if (!giveBack) {
      refuse(response, request, 429, `this session has ${REQUESTS_PER_SESSION} git requests running already`);
      return;
    }
    await serve(deps, refusal, request, response).finally(giveBack);
  };
}

/** Notes a push before anything of it is sent. */
async function serve(
  deps: GitProxyDeps,
  allowed: Allowed,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { claims, git, bound } = allowed;
  const refused = (status: number, message: string) => {
    refuse(response, request, status, message);
    deps.usage.record(usageOf(deps, claims, request, { outcome: "refused" }));
  };
  if (git.service !== "git-receive-pack" || git.phase !== "exchange") {
    await exchange(deps, allowed, request, response);
    return;
  }
  const commands = await peekCommands(request);
  if (commands === "bad") {
    refused(400, "the refs that this push moves cannot be read; signed and compressed pushes are not served");
    return;
  }
  let push: Push | undefined;
  try {
    // Without commands it is git trying the way.
    push = commands.length === 0 ? undefined : await deps.pushes.begin(claims, bound.url, commands);
  } catch (error) {
    deps.logger.error({ err: toAppError(error), session: claims.session }, "a push could not be noted down");
    refused(503, "the push cannot be noted down now and was not sent");
    return;
  }
  const isAnswered = await exchange(deps, allowed, request, response);
  if (isAnswered) await push?.answered();
  else push?.broke();
}

type Allowed = { readonly claims: SessionClaims; readonly git: GitRequest; readonly bound: BoundRepository };
type Refusal = { readonly status: number; readonly message: string; readonly claims?: SessionClaims };

/** Everything that must hold before anything leaves; the first rule that does not ends it. */
async function prepare(
  deps: GitProxyDeps,
  token: string,
  request: IncomingMessage,
): Promise<Allowed | { readonly refuse: Refusal }> {
  let claims: SessionClaims | undefined;
  try {
    claims = await deps.guard.admit(token, "git");
    const parsed = parseGitRequest(request.method ?? "", request.url ?? "");
    if (!parsed.ok) {
      return { refuse: { status: 403, message: parsed.rule, claims } };
    }
    const git = parsed.value;
    if (git.phase === "exchange" && request.headers["content-type"] !== `application/x-${git.service}-request`) {
      return {
        refuse: { status: 415, message: `the content type must be application/x-${git.service}-request`, claims },
      };
    }
    const bound = await deps.bindings.repository(claims.session, claims.workspace, git.repository);
    if (!bound) {
      return { refuse: { status: 403, message: "this repository is not one of the session's resources", claims } };
    }
    if (git.service === "git-receive-pack" && !bound.allowPush) {
      return { refuse: { status: 403, message: "this session may read this repository, but not push to it", claims } };
    }
    return { claims, git, bound };
  } catch (thrown) {
    const error = toAppError(thrown);
    const known = error.kind === "unauthenticated" || error.kind === "denied";
    if (!known) {
      // Fail closed: without an answer of the store, or with a token that does not open, nothing is sent.
      deps.logger.error({ err: error, session: claims?.session }, "a git request could not be judged");
    }
    const message = known ? error.message : "the session's rights cannot be checked now";
    return { refuse: { status: known ? 403 : 503, message, ...(claims ? { claims } : {}) } };
  }
}

/** One request to the git host and its answer. False when it may have done something that its client was not told. */
async function exchange(
  deps: GitProxyDeps,
  { claims, git, bound }: Allowed,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const bytes: ByteCount = { sent: 0, received: 0 };
  const gone = clientGone(response);
  const stopListening = deps.guard.onRevoked(claims.session, () => gone.abort(new ClientGone()));
  const credentialId = bound.token ? "session_resource" : "";
  let status = 0;
  let outcome: Usage["outcome"] = "failed";
  try {
    const outgoing = {
      origin: originOf(git.repository),
      path: `${git.repository.path}${gitSuffix(git)}`,
      method: git.phase === "advertise" ? ("GET" as const) : ("POST" as const),
      headers: withToken(onlyHeaders(request.headers, SENT_ON), bound.token),
      maxBodyBytes: MAX_PUSH_BYTES,
    };
    const answer = await sendOn(deps.dispatcher, request, outgoing, bytes, gone.signal);
    status = answer.statusCode;
    const problem = problemOf(answer.statusCode, String(answer.headers["content-type"] ?? ""), git, bound);
    if (problem) {
      // The connection is worth less than reading an unknown amount of a body nobody wants.
      answer.body.on("error", () => undefined).destroy();
      refuse(response, request, problem.status, problem.message);
      return status < 500;
    }
    const headers = withoutSecret(onlyHeaders(answer.headers, SENT_BACK), bound.token?.reveal() ?? "");
    await sendBack(answer, response, headers, bytes);
    outcome = "served";
    return true;
  } catch (error) {
    outcome = gone.signal.aborted ? "aborted" : "failed";
    const { hostname, port } = git.repository;
    deps.logger.debug({ session: claims.session, host: hostname, code: failureCode(error) }, "a git exchange failed");
    if (response.headersSent) {
      response.destroy();
    } else if (outcome === "failed") {
      refuse(response, request, 502, `the git host ${hostname}:${port} cannot be reached (${failureCode(error)})`);
    } else {
      response.destroy();
    }
    return false;
  } finally {
    stopListening();
    deps.usage.record(usageOf(deps, claims, request, { outcome, status, bytes, credentialId, git }));
  }
}

/** With the repository's token, as git hosts take it. */
export function withToken(headers: CleanHeaders, token: Secret | undefined): CleanHeaders {
  if (!token) {
    return headers;
  }
  const basic = Buffer.from(`x-access-token:${token.reveal()}`, "utf8").toString("base64");
  return { ...headers, authorization: `Basic ${basic}` };
}

/** Why an answer is not sent on as it is, in words for the person who reads git's output. */
function problemOf(
  status: number,
  contentType: string,
  git: GitRequest,
  bound: BoundRepository,
): { status: number; message: string } | undefined {
  const host = git.repository.hostname;
  if (status === 401 || status === 403) {
    const why = bound.token
      ? `the git host ${host} refused the credential of this session for this repository (${status})`
      : `the git host ${host} asks for a credential, and none was given with this repository (${status})`;
    return { status: 403, message: why };
  }
  if (status >= 300 && status < 400) {
    return {
      status: 502,
      message: `the git host ${host} answered with a redirect (${status}), which is never followed with a credential; bind the repository's final URL`,
    };
  }
  if (status !== 200) {
    return { status: status >= 400 ? status : 502, message: `the git host ${host} answered ${status}` };
  }
  const kind = git.phase === "advertise" ? "advertisement" : "result";
  if (contentType !== `application/x-${git.service}-${kind}`) {
    return { status: 502, message: `${host} does not speak git's smart HTTP at this URL` };
  }
  return undefined;
}

/** Git shows text/plain bodies to the user. The body of the request is read away so that the answer gets through. */
function refuse(response: ServerResponse, request: IncomingMessage, status: number, message: string): void {
  const body = `manyhands: ${message}\n`;
  response.writeHead(status, {
    "content-type": "text/plain",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-cache",
    connection: "close",
  });
  response.end(body);
  request.unpipe();
  request.resume();
}

type Facts = {
  readonly outcome: Usage["outcome"];
  readonly status?: number;
  readonly bytes?: ByteCount;
  readonly credentialId?: string;
  readonly git?: GitRequest;
};

function usageOf(deps: GitProxyDeps, claims: SessionClaims, request: IncomingMessage, facts: Facts): Usage {
  const { outcome, status = 0, bytes = { sent: 0, received: 0 }, credentialId = "", git } = facts;
  const suffix = git ? gitSuffix(git).split("?")[0] : "";
  return {
    id: newId("sevt"),
    proxy: "git",
    session: claims.session,
    workspace: claims.workspace,
    tokenId: claims.tokenId,
    credentialId,
    host: git ? `${git.repository.hostname}:${git.repository.port}` : "",
    method: request.method ?? "",
    // A refused request's path is the client's own text; only its length is bounded here.
    path: git ? `${git.repository.path}${suffix}` : ((request.url ?? "").split("?")[0]?.slice(0, 512) ?? ""),
    status,
    requestBytes: bytes.sent,
    responseBytes: bytes.received,
    outcome,
    atMs: deps.clock.nowMs(),
  };
}
