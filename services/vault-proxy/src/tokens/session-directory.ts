/** Asks who a session belongs to, for sessions nothing was bound for. */
export type SessionDirectory = {
  /** The session's workspace, or undefined when there is no such session. */
  workspaceOf(session: string, signal: AbortSignal): Promise<string | undefined>;
};
