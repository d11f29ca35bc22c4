/** Files as the public API shows them, and as resources of a session. */
import { UPLOADS_FOLDER } from "@manyhands/core";
import type { WorkspaceFile } from "@manyhands/protocol";
import type { FileInput } from "../schemas/session.ts";
import type { FileMetadata, FileResource } from "../sdk-types.ts";
import { rfc3339, rfc3339OrNull } from "./json-bytes.ts";

/** What is known of a file. Uploads can be downloaded too: they are the caller's own. */
export function toFileMetadata(stored: WorkspaceFile): FileMetadata {
  return {
    id: stored.id,
    type: "file",
    filename: stored.filename,
    mime_type: stored.mimeType,
    size_bytes: Number(stored.size),
    created_at: rfc3339(stored.createdAt),
    downloadable: true,
    expires_at: rfc3339OrNull(stored.expiresAt),
    scope: stored.sessionId === "" ? null : { type: "session", id: stored.sessionId },
  };
}

/** The resource, under the id and time given. */
export function toFileResource({ file_id, mount_path }: FileInput, id: string, now: string): FileResource {
  const path = mount_path ?? `${UPLOADS_FOLDER}/${file_id}`;
  return { id, type: "file", file_id, mount_path: path, created_at: now, updated_at: now };
}
