/** HTTP status that belongs to each error type of the Messages API (https://docs.anthropic.com/en/api/errors). */
const STATUS_OF_TYPE = {
  invalid_request_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
} as const;

/** The `error.type` values the Messages API answers with. */
export type ApiErrorType = keyof typeof STATUS_OF_TYPE;

/** Every {@link ApiErrorType}, for schemas and messages. */
export const API_ERROR_TYPES = Object.keys(STATUS_OF_TYPE) as readonly ApiErrorType[];

/** An error the client sees: HTTP status, the Anthropic envelope's type and message, and extra response headers. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly type: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(type: string, message: string, options: { status?: number; headers?: Record<string, string> } = {}) {
    super(message);
    this.type = type;
    this.status = options.status ?? statusOfType(type);
    this.headers = options.headers ?? {};
  }

  /** A 400 whose message starts with the path of the offending field, as the real API writes it. */
  static invalid(message: string): ApiError {
    return new ApiError("invalid_request_error", message);
  }

  /** The body of the error response: `{type: "error", error: {type, message}, request_id}`. */
  envelope(requestId: string): ErrorEnvelope {
    return { type: "error", error: { type: this.type, message: this.message }, request_id: requestId };
  }
}

/** The Anthropic error envelope. */
export type ErrorEnvelope = {
  readonly type: "error";
  readonly error: { readonly type: string; readonly message: string };
  readonly request_id: string;
};

/** The status for an error type; 500 for a type this server does not know. */
export function statusOfType(type: string): number {
  return type in STATUS_OF_TYPE ? STATUS_OF_TYPE[type as ApiErrorType] : 500;
}

/** The error type the real API uses for a status; `api_error` for anything it has no name for. */
export function typeOfStatus(status: number): ApiErrorType {
  const found = API_ERROR_TYPES.find((type) => STATUS_OF_TYPE[type] === status);
  return found ?? (status >= 400 && status < 500 ? "invalid_request_error" : "api_error");
}
