/** NATS, and nothing but NATS: the only package that imports its client. */
export { type AppendOutcome, appendFrame } from "./append-frame.ts";
export { createFrameAppender, type FrameAppender } from "./append-queue.ts";
export { type ApplyOptions, applyStreams, checkStreams } from "./apply-streams.ts";
export { asyncApiDocument } from "./asyncapi.ts";
export { type CredentialUse, publishCredentialUse, publishVaultChange } from "./audit.ts";
export { type Bus, type BusOptions, connectBus } from "./bus.ts";
export { type BusHandAnswer, type BusHandRequest, requestBusHand } from "./bus-hand.ts";
export { assertDeclared, isDeclared, observeUndeclared, type UndeclaredObserver } from "./declared.ts";
export { createDirectReader, type DirectReader, type StoredMessage } from "./direct-read.ts";
export type { EventStore } from "./event-store.ts";
export {
  hasFrames,
  lastFrameNumber,
  maxFramesPerRead,
  purgeSession,
  readFrameFromLeader,
  readFrames,
  type StoredFrame,
} from "./frame-read.ts";
export type { FrameToAppend } from "./frame-to-append.ts";
export { type KvBucket, type KvChange, type KvEntry, type KvOptions, openBucket } from "./kv.ts";
export { publishDelta, subscribeDeltas, subscribeTail, type Unsubscribe } from "./live.ts";
export { followLog, type LogFollower, type LogFollowerOptions } from "./log-follow.ts";
export {
  type PutMessage,
  type PutOutcome,
  purgeMessages,
  putMessage,
  readMessages,
  type StreamFacts,
  streamFacts,
} from "./messages.ts";
export { diffStreams, type StreamPlan, updateStreams } from "./plan-streams.ts";
export { createFrameReader, type FrameReader } from "./run-read.ts";
export { checkServerVersion, checkSyncAlways } from "./server-check.ts";
export { type BucketName, type StreamName, type StreamRow, streamTable } from "./streams.ts";
export { type SubjectRow, subjects, subjectTable, subjectToken } from "./subjects.ts";
export {
  consumeWakes,
  hasWakeConsumer,
  type WakeConsumer,
  type WakeConsumerOptions,
  type WakeRoom,
  wakeConsumerName,
} from "./wake-consume.ts";
export { answerOffers, type OfferTaker, type Wake } from "./wake-hold.ts";
export { publishWake } from "./wake-publish.ts";
