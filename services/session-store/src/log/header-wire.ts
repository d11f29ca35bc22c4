/** Header of a session → wire. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { SessionStatus as CoreStatus, SessionHeader } from "@manyhands/core";
import { type SessionSchema, SessionStatus } from "@manyhands/protocol";

const encoder = new TextEncoder();
const json = (value: unknown) => encoder.encode(JSON.stringify(value));

/** Wire form of each status. */
export const wireStatus: Readonly<Record<CoreStatus, SessionStatus>> = {
  idle: SessionStatus.IDLE,
  running: SessionStatus.RUNNING,
  rescheduling: SessionStatus.RESCHEDULING,
  terminated: SessionStatus.TERMINATED,
};

/** The wire header. */
export function sessionToWire(sessionId: string, header: SessionHeader): MessageInitShape<typeof SessionSchema> {
  const { usage, stop_reason: stop, origin, checkpoint_position: checkpoint } = header;
  return {
    id: sessionId,
    workspaceId: header.workspace_id,
    status: wireStatus[header.status],
    ...(stop === undefined ? {} : { stopReason: { type: stop.type, eventIds: stop.event_ids ?? [] } }),
    headPosition: BigInt(header.head_position),
    epoch: BigInt(header.epoch),
    harnessKind: header.harness_kind,
    agentJson: json(header.agent),
    environmentJson: json(header.environment),
    resourcesJson: json(header.resources),
    vaultIds: header.vault_ids,
    title: header.title,
    metadata: header.metadata,
    usage: {
      inputTokens: BigInt(usage.input_tokens),
      outputTokens: BigInt(usage.output_tokens),
      cacheReadInputTokens: BigInt(usage.cache_read_input_tokens),
      cacheCreationInputTokens: BigInt(usage.cache_creation_input_tokens),
    },
    createdAt: timestampFromMs(header.created_at),
    updatedAt: timestampFromMs(header.updated_at),
    ...(header.archived_at === undefined ? {} : { archivedAt: timestampFromMs(header.archived_at) }),
    ...(origin === undefined ? {} : { origin: { sessionId: origin.session_id, position: BigInt(origin.position) } }),
    handIds: header.hand_ids,
    budgetJson: json(header.budget),
    ...(checkpoint === undefined ? {} : { checkpointPosition: BigInt(checkpoint) }),
  };
}
