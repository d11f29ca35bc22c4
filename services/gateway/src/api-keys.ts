/**
 * API keys by their SHA-256. A key is 256 random bits, so a plain hash is enough (nothing to guess), and the file can
 * be read by an operator without giving a key away. The file is looked at once a second and re-read when it changed;
 * a broken new version is logged and the last good one stays in force, so that a half-written file locks nobody out.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync, unwatchFile, watchFile } from "node:fs";
import { ConfigError, type Shell } from "@manyhands/kit";
import { z } from "zod";

/** One key as it stands in the file. */
export type ApiKeyRecord = z.infer<typeof recordSchema>;

/** Who a request comes from. */
export type Caller = {
  readonly keyId: string;
  readonly workspaceId: string;
  /** May write to its workspace's sessions as a brain does. */
  readonly isHarness: boolean;
  /** A key of one self-hosted environment's workers: it takes work and can do nothing else. */
  readonly environmentId?: string;
  /** The holder of one work item's token: its session and that item, and nothing else. */
  readonly work?: WorkCaller;
};

/** What a work item's token says about itself; `sessionId` only where the queue has confirmed it. */
export type WorkCaller = { readonly workId: string; readonly token: string; readonly sessionId?: string };

/** Finds the caller of a key. */
export type ApiKeys = {
  /** The caller, or undefined when no key matches. Takes the same time whichever key matches. */
  find(key: string): Caller | undefined;
};

const MAX_KEYS = 10_000;
const LOOK_EVERY_MS = 1000;

const recordSchema = z.object({
  id: z.string().min(1).max(128),
  workspace_id: z.string().min(1).max(128),
  sha256: z.string().regex(/^[0-9a-f]{64}$/i, "must be 64 hexadecimal digits"),
  created_at: z.string().optional(),
  harness: z.boolean().optional(),
  environment_id: z.string().min(1).max(128).optional(),
});
const fileSchema = z.object({ keys: z.array(recordSchema).max(MAX_KEYS) });

type Entry = { readonly digest: Buffer; readonly caller: Caller };

/** The form in which a key is stored: lower-case hexadecimal SHA-256. */
export function hashApiKey(key: string): string {
  return createHash("sha256").update(key, "utf8").digest("hex");
}

/** Keys from a text in the file's format. Throws ConfigError listing every problem. */
export function parseApiKeys(text: string): ApiKeys {
  const entries = parseEntries(text);
  return { find: (key) => findIn(entries, key) };
}

/** Keys from the file, re-read on change until the lifecycle stops. Throws ConfigError when it cannot be used now. */
export function openApiKeys(path: string, shell: Pick<Shell, "logger" | "lifecycle">): ApiKeys {
  const logger = shell.logger.child({ part: "api-keys", path });
  let entries = parseEntries(readFileSync(path, "utf8"));
  const reload = () => {
    try {
      entries = parseEntries(readFileSync(path, "utf8"));
      logger.info({ keys: entries.length }, "api keys re-read");
    } catch (error) {
      logger.error({ err: error }, "the changed api keys file cannot be used; the last good one stays in force");
    }
  };
  watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, reload);
  shell.lifecycle.onStop("api keys watch", () => unwatchFile(path, reload));
  return { find: (key) => findIn(entries, key) };
}

function findIn(entries: readonly Entry[], key: string): Caller | undefined {
  const digest = createHash("sha256").update(key, "utf8").digest();
  let found: Caller | undefined;
  for (const entry of entries) {
    // No early exit: the time must not tell which key came close or matched.
    if (timingSafeEqual(entry.digest, digest)) {
      found = entry.caller;
    }
  }
  return found;
}

function parseEntries(text: string): readonly Entry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ConfigError(["MH_API_KEYS_FILE must be JSON: {keys: [{id, workspace_id, sha256, created_at}]}"]);
  }
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) {
    throw new ConfigError(
      parsed.error.issues.map((issue) => `MH_API_KEYS_FILE ${issue.path.join(".")}: ${issue.message}`),
    );
  }
  return parsed.data.keys.map((key) => ({
    digest: Buffer.from(key.sha256, "hex"),
    caller: {
      keyId: key.id,
      workspaceId: key.workspace_id,
      isHarness: key.harness === true,
      ...(key.environment_id === undefined ? {} : { environmentId: key.environment_id }),
    },
  }));
}
