/**
 * Every unary call is answered before its deadline: who hears UNAVAILABLE knows that the log is away and may try again
 * under the same ids; who hears nothing until DEADLINE_EXCEEDED knows nothing. On a full disk nats-server leaves appends
 * and reads alike unanswered.
 */
import { AppError, type Clock, type RpcContext } from "@manyhands/kit";

const marginShare = 0.05;
const leastMarginMs = 20;
const mostMarginMs = 100;

/** How long before a deadline, of which so much is left, work on the log ends so that its answer still arrives. */
export function answerMarginMs(leftMs: number): number {
  return Math.min(mostMarginMs, Math.max(leastMarginMs, leftMs * marginShare));
}

type Unary<Request, Response> = (request: Request, context: RpcContext) => Promise<Response>;

/**
 * The handler, answering AppError `unavailable` when half the margin is left. Its work may still come to an end: what it
 * writes is recognised by its ids when it is sent again.
 */
export function answerInTime<Request, Response>(
  handler: Unary<Request, Response>,
  clock: Pick<Clock, "nowMs">,
): Unary<Request, Response> {
  return (request, context) => {
    const leftMs = (context.deadlineMs ?? Number.POSITIVE_INFINITY) - clock.nowMs();
    if (!Number.isFinite(leftMs)) return handler(request, context);
    const late = Promise.withResolvers<never>();
    const giveUp = () => late.reject(AppError.unavailable("OUTCOME_UNKNOWN", "the log did not answer in time"));
    const timer = setTimeout(giveUp, leftMs - answerMarginMs(leftMs) / 2);
    const work = handler(request, context).finally(() => clearTimeout(timer));
    return Promise.race([work, late.promise]);
  };
}
