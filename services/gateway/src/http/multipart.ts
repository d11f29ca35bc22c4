/** One file out of a multipart body, as it comes in: nothing of it is kept here. */
import { once } from "node:events";
import { Readable } from "node:stream";
import { Busboy } from "@fastify/busboy";
import { AppError } from "@manyhands/kit";

const LIMITS = {
  files: 1,
  fields: 16,
  parts: 20,
  fieldSize: 1024,
  fieldNameSize: 100,
  headerPairs: 32,
  headerSize: 16_384,
};
/** So much of a body that nobody wants any more is still read, so that the client sees the answer. */
const MAX_DISCARDED_BYTES = 1024 * 1024 * 1024;

/** The file part; what else the body has is known when its bytes are read. */
export type FilePart = {
  readonly filename: string;
  readonly mimeType: string;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** The other parts; resolves when the body is read to its end. */
  fields(): Promise<ReadonlyMap<string, string>>;
};

/** Begins to read a body; the file must be its part `name`. Throws AppError `invalid`. */
export async function readFilePart(body: unknown, contentType: string, name: string): Promise<FilePart> {
  if (!(body instanceof Readable)) throw invalid("content-type", "must be multipart/form-data");
  const parser = parserOf(contentType);
  const fields = new Map<string, string>();
  let failure: AppError | undefined;
  let current: Readable | undefined;
  const fail = (error: AppError) => {
    failure ??= error;
  };
  parser.on("error", () => fail(broken()));
  parser.on("field", (field, value) => fields.set(field, value));
  parser.on("filesLimit", () => fail(invalid(name, "must be the only file")));
  for (const limit of ["fieldsLimit", "partsLimit"] as const)
    parser.on(limit, () => fail(invalid("body", `must have at most ${LIMITS.parts} parts`)));
  const finished = once(parser, "finish").then(
    () => undefined,
    () => fail(broken()),
  );
  const file = new Promise<FilePart | undefined>((resolve) => {
    parser.on("file", (field, stream, filename, _encoding, mimeType) => {
      if (field !== name) {
        fail(invalid(field.slice(0, 100), `is no part of this; the file is ${name}`));
        stream.resume();
        return;
      }
      current = stream;
      resolve({
        filename: filename ?? "",
        mimeType,
        bytes: bytesOf(stream),
        async fields() {
          await finished;
          if (failure) throw failure;
          return fields;
        },
      });
    });
    void finished.then(() => resolve(undefined));
  });
  // A client that goes away in the middle says nothing to the parser.
  body.once("error", () => undefined);
  body.once("close", () => {
    if (body.readableEnded) return;
    parser.destroy(broken());
    current?.destroy(broken());
  });
  body.pipe(parser);
  const found = await file;
  if (found) return found;
  throw failure ?? invalid(name, "is required");
}

/** Reads what is left of a body and forgets it. */
export async function discard(body: unknown): Promise<void> {
  if (!(body instanceof Readable) || body.readableEnded || body.destroyed) return;
  body.unpipe();
  let left = MAX_DISCARDED_BYTES;
  body.on("data", (chunk: Uint8Array) => {
    left -= chunk.length;
    if (left < 0) body.destroy();
  });
  body.resume();
  await once(body, "close").catch(() => undefined);
}

async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) yield chunk as Uint8Array; // a stream of bytes has nothing else
  } catch {
    throw broken();
  }
}

function parserOf(contentType: string) {
  try {
    return new Busboy({ headers: { "content-type": contentType }, limits: LIMITS });
  } catch {
    throw invalid("content-type", "must be multipart/form-data with a boundary");
  }
}

function broken(): AppError {
  return invalid("body", "must be a whole multipart body");
}

function invalid(field: string, description: string): AppError {
  return AppError.invalid([{ field, description }]);
}
