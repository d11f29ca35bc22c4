import type { MethodHandler } from "@manyhands/kit";
import type { HarnessService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";

/** DescribeHarness: kinds, versions and load of the answering process. */
export function describeHarness(
  deps: Pick<Deps, "kinds" | "driver"> & { readonly instanceId: string; readonly capacity: number },
): MethodHandler<typeof HarnessService.method.describeHarness> {
  return async () => ({
    instanceId: deps.instanceId,
    kinds: deps.kinds.all.map(({ kind, version }) => ({ kind, version })),
    sessionsInWork: deps.driver.inWork(),
    capacity: deps.capacity * deps.kinds.drivers.size,
  });
}
