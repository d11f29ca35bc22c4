import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import { maxRangeBytes } from "../blobs/blobs.ts";
import type { Deps } from "../deps.ts";
import { checkOwner, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/** A range of a big output. */
export function getBlob(deps: Pick<Deps, "cache" | "blobs">): MethodHandler<typeof SessionService.method.getBlob> {
  return async (request) => {
    const { workspaceId, sessionId, sha256 } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, true);
    checkSessionId(rule, sessionId);
    rule.check(/^[0-9a-f]{64}$/.test(sha256), "sha256", "must be 64 hex digits in lower case");
    rule.check(request.offset <= BigInt(Number.MAX_SAFE_INTEGER), "offset", "is too large");
    rule.check(request.length <= BigInt(maxRangeBytes), "length", `must be at most ${maxRangeBytes}`);
    rule.done();
    const hot = await deps.cache.current(sessionId);
    checkOwner(hot, workspaceId);
    const found = await deps.blobs.range(sessionId, sha256, Number(request.offset), Number(request.length));
    if (found === undefined) throw AppError.notFound("blob", sha256);
    return { data: found.data, size: BigInt(found.size) };
  };
}
