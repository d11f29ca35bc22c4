/** Audit facts: who used which credential where, and who changed what the vault keeps. Never a value. */
import { toBinary } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { type Event, EventSchema, type VaultChange, VaultChangeSchema } from "@manyhands/protocol";
import { headers, type MsgHdrs } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import { request } from "./request.ts";
import { headerNames, subjects, subjectToken } from "./subjects.ts";

/** A use of a credential, to be kept in the audit stream. */
export interface CredentialUse {
  /** Empty for what happened for no session, for instance the refresh of a token. */
  readonly sessionId: string;
  readonly workspaceId?: string;
  /** Event of type `credential.used`. */
  readonly event: Event;
}

/** Stores the fact and waits for the acknowledgement. Throws AppError `unavailable` when it is not known to be stored. */
export async function publishCredentialUse(bus: Bus, use: CredentialUse, timeoutMs = 5000): Promise<void> {
  const head = headers();
  if (use.sessionId !== "") head.set(headerNames.session, subjectToken("session_id", use.sessionId));
  if (use.workspaceId) head.set(headerNames.workspace, subjectToken("workspace_id", use.workspaceId));
  await publishFact(bus, "credential", toBinary(EventSchema, use.event), head, timeoutMs);
}

/** Stores a change of what the vault-proxy keeps. Throws AppError `unavailable` when it is not known to be stored. */
export async function publishVaultChange(bus: Bus, change: VaultChange, timeoutMs = 5000): Promise<void> {
  const head = headers();
  const { sessionId, workspaceId } = change;
  if (sessionId !== "") head.set(headerNames.session, subjectToken("session_id", sessionId));
  if (workspaceId !== "") head.set(headerNames.workspace, subjectToken("workspace_id", workspaceId));
  await publishFact(bus, "change", toBinary(VaultChangeSchema, change), head, timeoutMs);
}

async function publishFact(
  bus: Bus,
  topic: string,
  payload: Uint8Array,
  head: MsgHdrs,
  timeoutMs: number,
): Promise<void> {
  try {
    const ack = (await request(bus, subjects.audit(topic), payload, timeoutMs, head)).json<{
      error?: { description?: string };
    }>();
    if (ack.error !== undefined) throw new Error(ack.error.description ?? "refused");
  } catch (error) {
    if (error instanceof AppError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("AUDIT_NOT_STORED", `the audit fact is not known to be stored: ${why}`, error);
  }
}
