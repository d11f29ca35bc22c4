/**
 * A harness of your own, whole: at night it lets a smaller model answer, and it never lets a turn use more than five tools.
 * Register it with MH_HARNESS_MODULES=examples/harness/night-shift.ts; name it by `manyhands.harness` in a session's
 * metadata.
 */
// In a project of your own: from "@manyhands/harness-sdk".
import { decide, defineHarness, withModelCall } from "../../packages/harness-sdk/src/index.ts";

const maxTools = 5;

export default defineHarness({
  kind: "night-shift",
  version: "1.0.0",
  next(view) {
    const hour = new Date(view.now).getUTCHours();
    const isNight = hour >= 22 || hour < 6;
    const limits = { ...view.limits, toolCallsPerTurn: maxTools };
    const action = decide({ ...view, limits });
    return withModelCall(action, (call) => (isNight ? { ...call, model: "claude-haiku-5-5" } : call));
  },
});
