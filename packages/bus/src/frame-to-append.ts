/** A frame to be stored. */
export interface FrameToAppend {
  readonly sessionId: string;
  /** Frame number: exactly one more than the last known one. */
  readonly frame: number;
  /** Encoded `manyhands.events.v1.Frame`. */
  readonly payload: Uint8Array;
  /** Position of the first event. */
  readonly position: number;
  /** Number of events. */
  readonly count: number;
  /** Epoch after the frame. */
  readonly epoch: number;
  /** Derived status after the frame. */
  readonly status: string;
  /** W3C trace context. */
  readonly traceparent?: string;
}
