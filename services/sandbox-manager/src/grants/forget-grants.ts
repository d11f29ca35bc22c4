import type { Manager } from "../hands/manager.ts";

/** So long after its end a grant is still named as ended, and can be revoked once more. */
const REMEMBERED_MS = 3_600_000;

/** Grants that ended long ago are forgotten, hand by hand. */
export async function forgetGrants({ grants, clock }: Pick<Manager, "grants" | "clock">): Promise<void> {
  const before = clock.nowMs() - REMEMBERED_MS;
  for (const stored of await grants.list()) {
    const isOver = stored.all.grants.every(
      ({ expiresAtMs, revokedAtMs }) => expiresAtMs < before || (revokedAtMs > 0 && revokedAtMs < before),
    );
    if (isOver) await grants.forget(stored);
  }
}
