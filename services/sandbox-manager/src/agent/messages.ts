import type { OperationAction, OperationSpec, OperationState } from "../drivers/driver.ts";
import { MAX_PAYLOAD_BYTES } from "./frames.ts";

/** Frame types and field orders, shared with `agent/agent.h`; the numbers are the protocol. */
export const PROTOCOL_VERSION = 1;
export const TO_AGENT = {
  hello: 1,
  body: 2,
  start: 3,
  attach: 4,
  credit: 5,
  detach: 6,
  cancel: 7,
  state: 8,
  list: 9,
  ping: 10,
  connectionData: 11,
  connectionEof: 12,
  connectionClose: 13,
  connectionCredit: 14,
} as const;
export const FROM_AGENT = {
  welcome: 129,
  refused: 130,
  started: 131,
  output: 132,
  exit: 133,
  state: 134,
  listed: 135,
  pong: 136,
  connectionOpened: 137,
  connectionData: 138,
  connectionEof: 139,
  connectionClosed: 140,
  connectionCredit: 141,
  damaged: 142,
} as const;
export const REFUSAL = { fenced: 1, bad: 2, conflict: 3, busy: 4, notStarted: 5, storage: 6, spawn: 7 } as const;

/** The agent knows no tools: it refuses 0. */
const KIND = {
  tool: 0,
  shell: 1,
  exec: 2,
  restartShell: 3,
  read: 4,
  write: 5,
  tree: 6,
  manifest: 7,
  bundle: 8,
  place: 9,
} as const;
const PLACE_STEPS = { more: 0, last: 1, remove: 2, folder: 3 } as const;
const PHASES = ["unknown", "queued", "running", "exited", "unknown"] as const;
const KILLERS = [undefined, "timeout", "cancel", "out_of_memory"] as const;
const NOTHING = new Uint8Array();
/** Scripts and files above this travel ahead in body frames. */
const INLINE_BYTES = 16_384;
/** Content of one body frame. */
export const BODY_CHUNK_BYTES = 32_768;

/** Writes fields: integers little endian, bytes and strings after their u32 length. */
export class FieldWriter {
  #parts: Uint8Array[] = [];

  u8(value: number): this {
    this.#parts.push(Buffer.from([value]));
    return this;
  }

  u32(value: number): this {
    const field = Buffer.allocUnsafe(4);
    field.writeUInt32LE(value);
    this.#parts.push(field);
    return this;
  }

  u64(value: number): this {
    const field = Buffer.allocUnsafe(8);
    field.writeBigUInt64LE(BigInt(value));
    this.#parts.push(field);
    return this;
  }

  bytes(value: Uint8Array | string): this {
    const content = typeof value === "string" ? Buffer.from(value) : value;
    this.u32(content.length);
    this.#parts.push(content);
    return this;
  }

  strings(values: readonly string[]): this {
    this.u32(values.length);
    for (const value of values) this.bytes(value);
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Reads fields; throws RangeError on a short frame. */
export class FieldReader {
  #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  u8(): number {
    return this.#data.readUInt8(this.#move(1));
  }

  u32(): number {
    return this.#data.readUInt32LE(this.#move(4));
  }

  i32(): number {
    return this.#data.readInt32LE(this.#move(4));
  }

  u64(): number {
    return Number(this.#data.readBigUInt64LE(this.#move(8)));
  }

  bytes(): Buffer {
    const length = this.u32();
    const from = this.#move(length);
    if (from + length > this.#data.length) throw new RangeError("a frame's field is longer than the frame");
    return this.#data.subarray(from, from + length);
  }

  string(): string {
    return this.bytes().toString("utf8");
  }

  #move(length: number): number {
    const from = this.#at;
    this.#at += length;
    return from;
  }
}

/** Every frame begins so. */
export function frameHead(type: number, epoch: number, id: number): FieldWriter {
  return new FieldWriter().u8(type).u32(epoch).u32(id);
}

/** A START frame and what travels ahead of it. */
export type StartFrame = { readonly start: Buffer; readonly body: Uint8Array };

/** `window` is how many output bytes the reader is ready for at once; `isLook` leaves no trace in the ledger. */
export function startFrame(
  epoch: number,
  id: number,
  spec: OperationSpec,
  window: number,
  isLook: boolean,
): StartFrame {
  const { action } = spec;
  const content = action.kind === "shell" ? action.script : "content" in action ? action.content : NOTHING;
  const ahead = content.length > INLINE_BYTES;
  const start = frameHead(TO_AGENT.start, epoch, id)
    .u8(KIND[action.kind])
    .u8(isLook ? 1 : 0)
    .u32(window)
    .bytes(spec.id)
    .bytes(spec.inputHash)
    .u64(spec.timeoutMs)
    .u64("offset" in action ? (action.offset ?? 0) : 0)
    .u64(maxOf(action))
    .bytes("path" in action ? action.path : "")
    .bytes(action.kind === "exec" ? (action.cwd ?? "") : "")
    .strings(listOf(action))
    .strings([])
    .bytes(ahead ? NOTHING : content)
    .done();
  if (start.length > MAX_PAYLOAD_BYTES) throw new RangeError("the operation's arguments are longer than a frame");
  return { start, body: ahead ? content : NOTHING };
}

/** The one number of an action beside its offset. */
function maxOf(action: OperationAction): number {
  switch (action.kind) {
    case "read":
      return action.maxBytes;
    case "tree":
    case "manifest":
      return action.maxEntries;
    case "write":
      return action.mode;
    case "place":
      return PLACE_STEPS[action.step];
    default:
      return 0;
  }
}

function listOf(action: OperationAction): readonly string[] {
  if (action.kind === "exec") return action.argv;
  if (action.kind === "manifest") return action.roots;
  return action.kind === "bundle" ? action.paths : [];
}

/** The state fields, as every answer about an operation carries them. */
export function readState(fields: FieldReader): OperationState {
  const id = fields.string();
  fields.u8(); // kind: the asker knows it
  const phase = PHASES[fields.u8()] ?? "unknown";
  const killedBy = KILLERS[fields.u8()];
  const shellLost = fields.u8() === 1;
  const code = fields.i32();
  const signal = fields.i32();
  const outputBytes = fields.u64();
  const unreadableBytes = fields.u64();
  const ended = phase === "exited";
  return {
    id,
    phase,
    killedBy,
    shellLost,
    exitCode: ended && code >= 0 ? code : undefined,
    signal: ended && signal > 0 ? signal : undefined,
    outputBytes,
    unreadableBytes,
  };
}
