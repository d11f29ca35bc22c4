/**
 * The index of sessions as bytes and back. Pieces are made one after another while the index goes on, so that a piece
 * may be newer than the mark of the whole: a frame that is already in an entry is passed over when it is folded again.
 */
import { promisify } from "node:util";
import { deflateRaw, inflateRaw } from "node:zlib";
import { type JsonObject, type SessionHeader, sessionHeaderVersion } from "@manyhands/core";

/** What the index knows of a session. */
export interface IndexEntry {
  readonly sessionId: string;
  readonly shared: number;
  readonly nextFrame: number;
  readonly header: SessionHeader;
}

/** Says which code understands a snapshot. */
export const indexVersion = `2.${sessionHeaderVersion}`;

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);
const targetPieceBytes = 512 * 1024;

type Row = readonly [
  sessionId: string,
  shared: number,
  nextFrame: number,
  agent: number,
  environment: number,
  rest: object,
];

interface Piece {
  /** Agents and environments, each once. */
  readonly values: JsonObject[];
  readonly rows: Row[];
}

/** The entries in pieces of about half a MiB before they are compressed, with a turn of the event loop between. */
export async function* encodeIndex(entries: Iterable<IndexEntry>): AsyncGenerator<Uint8Array> {
  let [rows, values, bytes]: [string[], Map<object, number>, number] = [[], new Map(), 0];
  const flush = () => {
    const text = `{"values":${JSON.stringify([...values.keys()])},"rows":[${rows.join(",")}]}`;
    [rows, values, bytes] = [[], new Map(), 0];
    return deflate(text, { level: 1 });
  };
  for (const { sessionId, shared, nextFrame, header } of entries) {
    const { agent, environment, ...rest } = header;
    const [at, size] = [indexIn(values, agent), indexIn(values, environment)];
    const row: Row = [sessionId, shared, nextFrame, at.index, size.index, rest];
    const text = JSON.stringify(row);
    rows.push(text);
    bytes += text.length + at.bytes + size.bytes;
    if (bytes >= targetPieceBytes) yield await flush();
  }
  if (rows.length > 0) yield await flush();
}

function indexIn(values: Map<object, number>, value: JsonObject): { readonly index: number; readonly bytes: number } {
  const known = values.get(value);
  if (known !== undefined) return { index: known, bytes: 0 };
  values.set(value, values.size);
  return { index: values.size - 1, bytes: JSON.stringify(value).length };
}

/** The entries of all pieces; undefined when any of them cannot be read. */
export async function decodeIndex(pieces: readonly Uint8Array[]): Promise<IndexEntry[] | undefined> {
  try {
    const entries: IndexEntry[] = [];
    for (const bytes of pieces) {
      const { values, rows } = JSON.parse((await inflate(bytes)).toString("utf8")) as Piece; // its hash was checked
      for (const [sessionId, shared, nextFrame, agent, environment, rest] of rows) {
        const header = { ...rest, agent: values[agent] ?? {}, environment: values[environment] ?? {} } as SessionHeader;
        entries.push({ sessionId, shared, nextFrame, header });
      }
    }
    return entries;
  } catch {
    return undefined;
  }
}
