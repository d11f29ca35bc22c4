/** Finds who asks. Current clients send `Authorization: Bearer`, older ones and curl recipes `x-api-key`. */
import { AppError } from "@manyhands/kit";
import type { FastifyRequest } from "fastify";
import type { ApiKeys, Caller } from "../api-keys.ts";

/** Finds the caller behind a work item's token; undefined when it is not of that kind. */
export type WorkTokens = (token: string, request: FastifyRequest) => Promise<Caller | undefined>;

/** The caller of a request. Throws AppError `unauthenticated` or, for a foreign workspace, `denied`. */
export async function authenticate(apiKeys: ApiKeys, workTokens: WorkTokens, request: FastifyRequest): Promise<Caller> {
  const key = presentedKey(request.headers.authorization, request.headers["x-api-key"]);
  if (key === undefined) {
    throw AppError.unauthenticated("an API key is required: send it as `Authorization: Bearer` or `x-api-key`");
  }
  const caller = apiKeys.find(key) ?? (await workTokens(key, request));
  if (caller === undefined) throw AppError.unauthenticated("the API key is not valid");
  const workspace = request.headers["anthropic-workspace-id"];
  if (workspace !== undefined && workspace !== caller.workspaceId) {
    throw AppError.denied("WRONG_WORKSPACE", "anthropic-workspace-id: must be the workspace of the API key");
  }
  return caller;
}

const MAX_KEY_CHARACTERS = 1024;

function presentedKey(authorization: string | undefined, apiKey: string | string[] | undefined): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  const key = bearer ?? (typeof apiKey === "string" ? apiKey.trim() : undefined);
  return key === undefined || key === "" || key.length > MAX_KEY_CHARACTERS ? undefined : key;
}
