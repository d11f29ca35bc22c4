/** Which git request a method and URL are, decided once on the parsed form. Only smart HTTP is served. */
import { type Parsed, parseParts, type RepositoryUrl } from "./repository-url.ts";

/** What git asks a server to run. */
export type GitService = "git-upload-pack" | "git-receive-pack";

/** A request this proxy may serve, if the repository is bound. */
export type GitRequest = {
  readonly repository: RepositoryUrl;
  readonly service: GitService;
  readonly phase: "advertise" | "exchange";
};

const MAX_TARGET = 4096;
const TARGET = /^\/(https?)\/([^/]+)(\/.+)$/;
const ADVERTISE_QUERY = /^service=(git-upload-pack|git-receive-pack)$/;

/** Parses a request line's method and target: `/<http|https>/<host[:port]>/<repository>/<git's own ending>`. */
export function parseGitRequest(method: string, target: string): Parsed<GitRequest> {
  const [path = "", query, ...more] = target.split("?");
  const match = target.length <= MAX_TARGET && more.length === 0 ? TARGET.exec(path) : null;
  if (!match) {
    return { ok: false, rule: "the path must be /<http|https>/<host>/<repository>/… with at most one query" };
  }
  const [, scheme = "", authority = "", rest = ""] = match;
  const ending = endingOf(method, rest, query);
  if (!ending.ok) {
    return ending;
  }
  const repository = parseParts(scheme, authority, rest.slice(0, rest.length - ending.value.suffix.length));
  if (!repository.ok) {
    return { ok: false, rule: `the repository ${repository.rule}` };
  }
  const { service, phase } = ending.value;
  return { ok: true, value: { repository: repository.value, service, phase } };
}

/** The path and query git uses for a request, below the repository's own path. */
export function gitSuffix(request: Pick<GitRequest, "service" | "phase">): string {
  return request.phase === "advertise" ? `/info/refs?service=${request.service}` : `/${request.service}`;
}

type Ending = Pick<GitRequest, "service" | "phase"> & { readonly suffix: string };

function endingOf(method: string, path: string, query: string | undefined): Parsed<Ending> {
  if (path.endsWith("/info/refs")) {
    const service = ADVERTISE_QUERY.exec(query ?? "")?.[1];
    return method === "GET" && isService(service)
      ? { ok: true, value: { service, phase: "advertise", suffix: "/info/refs" } }
      : { ok: false, rule: "only GET info/refs with exactly one service of smart HTTP is served" };
  }
  const service = path.slice(path.lastIndexOf("/") + 1);
  return method === "POST" && query === undefined && isService(service)
    ? { ok: true, value: { service, phase: "exchange", suffix: `/${service}` } }
    : { ok: false, rule: "only git's info/refs, git-upload-pack and git-receive-pack are served" };
}

function isService(text: string | undefined): text is GitService {
  return text === "git-upload-pack" || text === "git-receive-pack";
}
