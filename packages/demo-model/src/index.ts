export { API_ERROR_TYPES, type ApiErrorType, type ErrorEnvelope } from "./api-error.ts";
export { demoRepository, demoShellRepository, FIX_COMMIT_SUBJECT } from "./demo-repository.ts";
export type { JournalEntry } from "./journal.ts";
export { loadScenarioDir, parseScenarios, ScenarioError } from "./load-scenarios.ts";
export type { Scenario, ScenarioInput } from "./scenario-schema.ts";
export {
  createDemoModel,
  type DemoModel,
  type DemoModelLog,
  type DemoModelOptions,
  type FaultInput,
} from "./server.ts";
export { estimateTokens } from "./usage.ts";
