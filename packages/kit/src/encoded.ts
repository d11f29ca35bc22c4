import type { DescMessage } from "@bufbuild/protobuf";

/**
 * A message that is encoded already, for handlers that pass stored bytes on: the server sends them as they are. The
 * bytes must be a message of the schema; nobody checks.
 */
export class Encoded<Desc extends DescMessage> {
  readonly schema: Desc;
  readonly bytes: Uint8Array;

  constructor(schema: Desc, bytes: Uint8Array) {
    this.schema = schema;
    this.bytes = bytes;
  }
}
