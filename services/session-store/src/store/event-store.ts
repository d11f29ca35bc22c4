/** The port to where frames are kept. `@manyhands/store-contract` is what every implementation must pass. */
export type {
  AppendOutcome,
  EventStore,
  FrameToAppend,
  LogFollower,
  LogFollowerOptions,
  StoredFrame,
} from "@manyhands/bus";
