import { z } from "zod";
import { isSameProcessAlive, startOfProcess } from "../bootstrap/process-identity.mjs";
import { readJsonIfThere, writePrivateFile } from "./private-file.ts";

const schema = z.object({
  gateway_url: z.string(),
  api_key: z.string(),
  /** `host:port`; several replicas as a comma-separated list. */
  grpc: z.object({
    session_store: z.string(),
    harness: z.string(),
    sandbox_manager: z.string(),
    vault_proxy: z.string(),
  }),
  nats_url: z.string(),
  model: z.enum(["demo", "real"]),
  model_url: z.string(),
  /** Where harnesses of your own ask the model, with a session token. */
  model_proxy_url: z.string(),
  model_why: z.string(),
  /** The driver that makes hands. */
  hands: z.enum(["docker", "bubblewrap", "virtual"]),
  hands_why: z.string(),
  /** Where bubblewrap hands live; empty with other drivers. */
  hands_dir: z.string().default(""),
  data_dir: z.string(),
  pid: z.number(),
  pid_start: z.string(),
});

/** The facts of a running platform as `.manyhands/dev.json` holds them. */
export type DevJson = z.infer<typeof schema>;

/** Written when the platform is up, readable by its owner only: it holds the API key. */
export function writeDevJson(file: string, facts: Omit<DevJson, "pid" | "pid_start">): DevJson {
  const devJson = { ...facts, pid: process.pid, pid_start: startOfProcess(process.pid) ?? "" };
  writePrivateFile(file, `${JSON.stringify(devJson, null, 2)}\n`);
  return devJson;
}

/** The facts of the platform that runs now; undefined when the file's writer is gone. */
export function readDevJson(file: string): DevJson | undefined {
  const parsed = schema.safeParse(readJsonIfThere(file));
  if (!parsed.success) return undefined;
  const { pid, pid_start: start } = parsed.data;
  return isSameProcessAlive({ pid, start }) ? parsed.data : undefined;
}
