/** A call under a grant that is under way. */
export type RunningUse = {
  /** Aborts when the grant is ended. */
  readonly cut: AbortSignal;
  end(): void;
};

/** Calls under grants that are under way at this manager. */
export type RunningUses = ReturnType<typeof createRunningUses>;

/** Knows them by grant, for as long as they last. */
export function createRunningUses() {
  const byGrant = new Map<string, Set<AbortController>>();
  return {
    begin(grantId: string): RunningUse {
      const controller = new AbortController();
      const uses = byGrant.get(grantId) ?? new Set();
      byGrant.set(grantId, uses.add(controller));
      return {
        cut: controller.signal,
        end() {
          uses.delete(controller);
          if (uses.size === 0 && byGrant.get(grantId) === uses) byGrant.delete(grantId);
        },
      };
    },
    /** Ends all of a grant's. */
    cut(grantId: string): void {
      for (const controller of byGrant.get(grantId) ?? []) controller.abort();
    },
  };
}
