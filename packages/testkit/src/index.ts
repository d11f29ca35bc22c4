export { endWithUs } from "./end-with-us.ts";
export { type EventuallyOptions, eventually } from "./eventually.ts";
export { type FakeClock, fakeClock } from "./fake-clock.ts";
export { freePort } from "./free-port.ts";
export {
  type GitServer,
  type GitServerCommit,
  type GitServerOptions,
  type GitServerRequest,
  startGitServer,
} from "./git-server.ts";
export { findNatsServer } from "./nats-binary.ts";
export { type NatsCluster, type NatsClusterOptions, type NatsNode, startNatsCluster } from "./nats-cluster.ts";
export { type NatsServer, type NatsServerOptions, startNatsServer } from "./nats-server.ts";
export { nodeEnv } from "./node-env.ts";
export { type Decider, type Spec, spec } from "./spec.ts";
export { type TempDir, tempDir } from "./temp-dir.ts";
