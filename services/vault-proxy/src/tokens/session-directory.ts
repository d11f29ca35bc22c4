/** What a session was made with, as it is stored: JSON of the public shapes. */
export type StoredConfig = { readonly environmentJson: Uint8Array; readonly agentJson: Uint8Array };

/** Asks session-store about sessions. */
export type SessionDirectory = {
  /** The session's workspace, or undefined when there is no such session. */
  workspaceOf(session: string, signal: AbortSignal): Promise<string | undefined>;
  /** The session's stored configuration, or undefined when there is no such session. */
  configOf(session: string): Promise<StoredConfig | undefined>;
};
