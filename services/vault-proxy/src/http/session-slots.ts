/** Bounds how many requests one session may have running, so that none can use up the connections of all. */
export type SessionSlots = {
  /** Takes a slot; answers how to give it back (twice is fine), or undefined when the session has none left. */
  take(session: string): (() => void) | undefined;
};

/** Slots for each session. */
export function sessionSlots(perSession: number): SessionSlots {
  const taken = new Map<string, number>();
  return {
    take(session) {
      const count = taken.get(session) ?? 0;
      if (count >= perSession) {
        return undefined;
      }
      taken.set(session, count + 1);
      let given = false;
      return () => {
        if (given) {
          return;
        }
        given = true;
        const left = (taken.get(session) ?? 1) - 1;
        if (left > 0) {
          taken.set(session, left);
        } else {
          taken.delete(session);
        }
      };
    },
  };
}
