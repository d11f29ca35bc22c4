import { AppError } from "@manyhands/kit";

const NEVER_SENT = { sent: "false" } as const;

/** The hand is gone or out of reach; whatever ran in it has an unknown end. */
export function handLost(message: string, cause?: unknown): AppError {
  return AppError.unavailable("HAND_LOST", message, cause);
}

/** The same loss, for a request that was certainly never given to the hand: proof that nothing of it ran. */
export function neverSent(loss: AppError): AppError {
  if (loss.reason !== "HAND_LOST") return loss;
  return new AppError("unavailable", {
    reason: "HAND_LOST",
    message: loss.message,
    details: { metadata: NEVER_SENT },
    retry: "now",
    cause: loss,
  });
}

/** True for an error made by `neverSent`. */
export function wasNeverSent(error: AppError): boolean {
  return error.details.metadata?.sent === NEVER_SENT.sent;
}
