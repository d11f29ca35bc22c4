/** Payload of `hand.granted`: a right to use a hand. */
export type GrantedHand = {
  hand_id: string;
  grant_id: string;
  to_session_id: string;
  rights: string[];
  tools: string[];
  /** True in the log of the session that received it. */
  received?: boolean;
};

/** Payload of `hand.used`: what a session does in another one's hand. */
export type UsedHand = {
  hand_id: string;
  grant_id: string;
  by_session_id: string;
  operation_id: string;
  tool: string;
  /** Absent: a tool is called. */
  use?: "attach" | "cancel" | "read_files";
  path?: string;
};
