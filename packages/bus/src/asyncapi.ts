/** The bus document: AsyncAPI 3 generated from the tables of subjects and streams. A test regenerates and compares it. */
import { streamTable } from "./streams.ts";
import { type SubjectRow, subjectTable } from "./subjects.ts";

type Doc = Record<string, unknown>;

/** The document as data, ready to be printed as YAML. */
export function asyncApiDocument(): Doc {
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Manyhands bus",
      version: "1.0.0",
      description:
        "Every subject, stream, consumer and bucket of the platform. Generated from packages/bus; do not edit. " +
        "Payloads are protobuf messages of proto/; JetStream facts are in x-stream and x-jetstream.",
    },
    defaultContentType: "application/protobuf",
    channels: Object.fromEntries(subjectTable.map((row) => [row.name, channel(row)])),
    operations: Object.fromEntries(subjectTable.flatMap(operations)),
    components: { messages: Object.fromEntries(subjectTable.map((row) => [row.name, message(row)])) },
    "x-jetstream": Object.fromEntries(streamTable.map(({ name, ...rest }) => [name, rest])),
  };
}

function channel(row: SubjectRow): Doc {
  return {
    address: row.address,
    description: row.summary,
    messages: { [row.name]: { $ref: `#/components/messages/${row.name}` } },
    parameters: Object.fromEntries(
      Object.entries(row.parameters).map(([name, description]) => [name, { description }]),
    ),
    ...(row.stream === undefined ? {} : { "x-stream": row.stream }),
  };
}

function operations(row: SubjectRow): [string, Doc][] {
  const on = { channel: { $ref: `#/channels/${row.name}` } };
  const each = (action: string, services: readonly string[]): [string, Doc][] =>
    services.length === 0 ? [] : [[`${action}-${row.name}`, { action, ...on, "x-services": [...services] }]];
  return [...each("send", row.publishers), ...each("receive", row.subscribers)];
}

function message(row: SubjectRow): Doc {
  const properties = Object.fromEntries(
    Object.entries(row.headers).map(([name, description]) => [name, { type: "string", description }]),
  );
  return {
    name: row.name,
    summary: row.summary,
    ...(row.payload === "none"
      ? {}
      : { contentType: `application/protobuf; proto=${row.payload}`, "x-protobuf": row.payload }),
    ...(Object.keys(properties).length === 0 ? {} : { headers: { type: "object", properties } }),
  };
}
