export { type Address, formatAddress, parseAddress } from "./address.ts";
export { type AdminServerOptions, createAdminServer, type ReadyCheck } from "./admin-server.ts";
export { type Clock, systemClock } from "./clock.ts";
export { anySignal, raceAbort, remainingMs, withDeadline } from "./deadline.ts";
export { encodeMessage, varintBytes } from "./encode-message.ts";
export { Encoded } from "./encoded.ts";
export {
  ConfigDescription,
  ConfigError,
  describeOnly,
  type Env,
  type EnvReader,
  type EnvVariable,
  formatVariables,
  readEnv,
} from "./env.ts";
export { ERROR_TABLE, type HttpError, toHttpError } from "./error-table.ts";
export {
  AppError,
  type AppErrorInit,
  type ErrorDetails,
  type ErrorKind,
  type FieldViolation,
  type RetryHint,
  toAppError,
} from "./errors.ts";
export type { Health } from "./health.ts";
export { type IdSource, idSource, idTimeMs, newId } from "./ids.ts";
export { createLifecycle, type Lifecycle, type StopOptions, type StopPhase, type StopReport } from "./lifecycle.ts";
export {
  createLogger,
  LOG_LEVELS,
  type Logger,
  type LoggerOptions,
  type LogLevel,
  type LogMethod,
  silentLogger,
} from "./logger.ts";
export { addCounter, createMetrics, type Metrics } from "./metrics.ts";
export { isSecretKey, redactText, redactValue, serializeError } from "./redact.ts";
export { type BackoffOptions, backoffMs, isRetryable, type RetryOptions, retry } from "./retry.ts";
export { createRpcClient, type RpcClientOptions } from "./rpc-client.ts";
export { forwardCall } from "./rpc-forward.ts";
export { type Implemented, implement } from "./rpc-handlers.ts";
export { createRpcServer, type RpcServer, type RpcServerOptions } from "./rpc-server.ts";
export { fromGrpcStatus, toGrpcStatus } from "./rpc-status.ts";
export { rpcTarget } from "./rpc-target.ts";
export {
  type CallOptions,
  type ClientMethod,
  MAX_MESSAGE_BYTES,
  type MethodHandler,
  type RpcClient,
  type RpcContext,
  type ServiceImpl,
} from "./rpc-types.ts";
export { runService, type ServiceDefinition } from "./run-service.ts";
export { REDACTED, Secret } from "./secret.ts";
export {
  createServiceServer,
  type RunningService,
  readServiceConfig,
  type ServiceConfig,
  type ServiceParts,
  type ServiceServer,
  type ServiceServerOptions,
  type Shell,
  type StartOptions,
  startService,
  testServiceConfig,
} from "./service.ts";
export { trackConnections } from "./track-connections.ts";
