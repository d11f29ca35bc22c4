import { deepStrictEqual, throws } from "node:assert/strict";

/** A decider: pure functions from events to state and from state and command to new events. */
export type Decider<State, Command, Event> = {
  initial(): State;
  evolve(state: State, event: Event): State;
  decide(command: Command, state: State): readonly Event[];
};

/** given(past events).when(command).thenEvents(new events). */
export type Spec<Command, Event> = (...past: readonly Event[]) => {
  when(command: Command): {
    /** The decision is exactly these events. */
    thenEvents(...expected: readonly Event[]): void;
    /** Nothing is decided. */
    thenNothing(): void;
    /** The decision throws an error that fits. */
    thenThrows(expected: RegExp | (new (...args: never[]) => Error)): void;
  };
};

/** The given-when-then form of a decider's test. */
export function spec<State, Command, Event>(decider: Decider<State, Command, Event>): Spec<Command, Event> {
  return (...past) => ({
    when(command) {
      const run = () => decider.decide(command, past.reduce(decider.evolve, decider.initial()));
      return {
        thenEvents: (...expected) => deepStrictEqual([...run()], [...expected]),
        thenNothing: () => deepStrictEqual([...run()], []),
        thenThrows: (expected) => throws(run, expected),
      };
    },
  });
}
