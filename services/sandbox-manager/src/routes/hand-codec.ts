/** Between wire and records; the only file of the routes that knows both. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type FieldViolation } from "@manyhands/kit";
import {
  type ExecuteResponseSchema,
  type HandSchema,
  HandState,
  type OperationResultSchema,
  Outcome,
  type ProvisionRequest,
  type Recipe as WireRecipe,
} from "@manyhands/protocol";
import type { HandRecord, Recipe } from "../hands/hand-record.ts";
import type { Wanted } from "../hands/make-hand.ts";
import type { ManagerLimits } from "../hands/manager.ts";
import type { Result } from "../hands/results.ts";
import type { Item } from "../hands/run-operation.ts";

const MAX_ENV = 64;
const MAX_LABELS = 16;
const MAX_FILES_BYTES = 4 * 1024 * 1024;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const MAX_ENV_CHARS = 4096;

const STATES = {
  provisioning: HandState.PROVISIONING,
  ready: HandState.READY,
  lost: HandState.LOST,
  released: HandState.RELEASED,
} as const;

const OUTCOMES = {
  completed: Outcome.COMPLETED,
  not_started: Outcome.NOT_STARTED,
  running: Outcome.RUNNING,
  killed: Outcome.KILLED,
  unknown: Outcome.UNKNOWN,
} as const;

/** Refuses an id that could mean something else in a subject, a label or a path. */
export function checkedId(field: string, value: string): string {
  if (!NAME.test(value)) throw AppError.invalid([{ field, description: "must be 1 to 64 of A-Z a-z 0-9 _ -" }]);
  return value;
}

/** The request in our terms; every unset limit is the manager's. */
export function wantedFrom(request: ProvisionRequest, limits: ManagerLimits): Wanted {
  const problems: FieldViolation[] = [];
  const { recipe } = request;
  if (!NAME.test(request.sessionId))
    problems.push({ field: "session_id", description: "must be 1 to 64 of A-Z a-z 0-9 _ -" });
  const name = request.name || "default";
  if (!NAME.test(name)) problems.push({ field: "name", description: "must be 1 to 64 of A-Z a-z 0-9 _ -" });
  problems.push(...recipeProblems(recipe, limits));
  if (problems.length > 0) throw AppError.invalid(problems);
  return {
    sessionId: request.sessionId,
    name,
    recipe: recipeFrom(recipe, limits),
    brainEpoch: Number(request.epoch),
    speculative: request.speculative,
  };
}

function recipeProblems(recipe: WireRecipe | undefined, limits: ManagerLimits): FieldViolation[] {
  if (!recipe) return [];
  const problems: FieldViolation[] = [];
  const packages = recipe.packages;
  if (
    packages &&
    [packages.apt, packages.cargo, packages.gem, packages.go, packages.npm, packages.pip].some(
      (list) => list.length > 0,
    )
  ) {
    problems.push({ field: "recipe.packages", description: "is not served yet; put the packages into an image" });
  }
  const env = Object.entries(recipe.env);
  if (env.length > MAX_ENV) problems.push({ field: "recipe.env", description: `must have at most ${MAX_ENV} entries` });
  for (const [name, value] of env) {
    if (!ENV_NAME.test(name))
      problems.push({ field: `recipe.env.${name}`, description: "must be a name of letters, digits and _" });
    if (value.includes("\0") || value.length > MAX_ENV_CHARS)
      problems.push({
        field: `recipe.env.${name}`,
        description: `must have at most ${MAX_ENV_CHARS} characters and no NUL`,
      });
  }
  if (Object.keys(recipe.managerLabels).length > MAX_LABELS)
    problems.push({ field: "recipe.manager_labels", description: `must have at most ${MAX_LABELS} entries` });
  const fileBytes = recipe.files.reduce((sum, file) => sum + file.content.length, 0);
  if (fileBytes > MAX_FILES_BYTES)
    problems.push({ field: "recipe.files", description: `must have at most ${MAX_FILES_BYTES} bytes in all` });
  const most: readonly [string, number, number][] = [
    ["memory_bytes", Number(recipe.limits?.memoryBytes ?? 0), limits.handMax.memoryBytes],
    ["cpu_millis", recipe.limits?.cpuMillis ?? 0, limits.handMax.cpuMillis],
    ["workspace_bytes", Number(recipe.limits?.workspaceBytes ?? 0), limits.handMax.workspaceBytes],
    ["pids", recipe.limits?.pids ?? 0, limits.handMax.pids],
  ];
  for (const [field, asked, max] of most) {
    if (asked > max) problems.push({ field: `recipe.limits.${field}`, description: `must be at most ${max}` });
  }
  return problems;
}

function recipeFrom(recipe: WireRecipe | undefined, limits: ManagerLimits): Recipe {
  const asked = recipe?.limits;
  return {
    image: recipe?.image ?? "",
    memoryBytes: Number(asked?.memoryBytes ?? 0) || limits.hand.memoryBytes,
    cpuMillis: asked?.cpuMillis || limits.hand.cpuMillis,
    workspaceBytes: Number(asked?.workspaceBytes ?? 0) || limits.hand.workspaceBytes,
    pids: asked?.pids || limits.hand.pids,
    env: { ...recipe?.env },
    repositories: (recipe?.repositories ?? []).map(({ url, mountPath, checkout }) => ({ url, mountPath, checkout })),
    files: (recipe?.files ?? []).map(({ path, content, mode }) => ({
      path,
      contentBase64: Buffer.from(content).toString("base64"),
      mode,
    })),
    driver: recipe?.driver ?? "",
    managerLabels: { ...recipe?.managerLabels },
  };
}

/** A record as the wire shows it. */
export function handToWire(record: HandRecord): MessageInitShape<typeof HandSchema> {
  const { recipe } = record;
  return {
    id: record.handId,
    sessionId: record.sessionId,
    name: record.name,
    driver: record.driver,
    state: STATES[record.state],
    generation: record.generation,
    notIsolated: [...record.notIsolated],
    recipe: {
      image: recipe.image,
      limits: {
        memoryBytes: BigInt(recipe.memoryBytes),
        cpuMillis: recipe.cpuMillis,
        workspaceBytes: BigInt(recipe.workspaceBytes),
        pids: recipe.pids,
      },
      env: recipe.env,
      repositories: recipe.repositories.map((repository) => ({ ...repository })),
      files: recipe.files.map(({ path, contentBase64, mode }) => ({
        path,
        content: Buffer.from(contentBase64, "base64"),
        mode,
      })),
      driver: recipe.driver,
      managerLabels: recipe.managerLabels ?? {},
    },
    managerId: record.managerId,
    createdAt: timestampFromMs(record.createdAtMs),
    lostReason: record.state === "lost" ? record.lostReason : "",
  };
}

/** What Execute and Attach have in common. */
export type WireItem = Pick<MessageInitShape<typeof ExecuteResponseSchema>, "item">;

/** One item of a followed operation, as both Execute and Attach send it. */
export function itemToWire(item: Item): WireItem {
  switch (item.type) {
    case "started":
      return { item: { case: "started", value: { attached: item.attached } } };
    case "output":
      return { item: { case: "output", value: { offset: BigInt(item.offset), data: item.data } } };
    case "result":
      return { item: { case: "result", value: resultToWire(item.result) } };
  }
}

/** The end of an operation. */
export function resultToWire(result: Result): MessageInitShape<typeof OperationResultSchema> {
  return {
    outcome: OUTCOMES[result.outcome],
    content: result.content,
    isError: result.isError,
    ...(result.exitCode === undefined ? {} : { exitCode: result.exitCode }),
    killedBy: result.killedBy ?? "",
    outputBytes: BigInt(result.outputBytes),
    truncated: result.truncated,
    outputSha256: result.outputSha256,
    handLost: result.handLost ?? false,
    lostReason: result.lostReason ?? "",
  };
}
