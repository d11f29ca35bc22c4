import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { MethodDefinition } from "@grpc/grpc-js";
import { encodeMessage } from "./encode-message.ts";
import { Encoded } from "./encoded.ts";

/** `/package.Service/Method`, as HTTP/2 carries it. */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Whether the caller sends a stream. */
export function streamsRequests(method: DescMethod): boolean {
  return method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
}

/** Whether the server answers with a stream. */
export function streamsResponses(method: DescMethod): boolean {
  return method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
}

type Definition = MethodDefinition<MessageShape<DescMessage>, MessageShape<DescMessage>>;

const definitions = new WeakMap<DescMethod, Definition>();

/** The grpc-js definition of one method, made once, since every call asks for it. */
export function methodDefinition(method: DescMethod): Definition {
  const known = definitions.get(method);
  if (known !== undefined) {
    return known;
  }
  const made = defineMethod(method);
  definitions.set(method, made);
  return made;
}

function defineMethod(method: DescMethod): Definition {
  const encode = (schema: DescMessage) => (message: MessageShape<DescMessage>) => {
    const bytes = message instanceof Encoded ? message.bytes : encodeMessage(schema, create(schema, message));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength); // a view: grpc-js copies once more anyway
  };
  return {
    path: methodPath(method),
    requestStream: streamsRequests(method),
    responseStream: streamsResponses(method),
    requestSerialize: encode(method.input),
    responseSerialize: encode(method.output),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
    originalName: method.localName,
  };
}

/** The methods of a service keyed by local name. */
export function methodDefinitions(service: DescService): Record<string, ReturnType<typeof methodDefinition>> {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(method)]));
}
