import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import { ServerReflection as ReflectionV1 } from "./gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ReflectionV1Alpha } from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { type Implemented, implement } from "./rpc-handlers.ts";

/**
 * Server reflection v1 and v1alpha over protobuf-es descriptors. Own code because `@grpc/reflection` 1.0.4 merges
 * files by package and drops their imports, which clients cannot resolve (grpc-node issue 3018).
 */
export function createReflection(services: readonly DescService[]): Implemented[] {
  const names = [...services, ReflectionV1, ReflectionV1Alpha].map((service) => service.typeName);
  const index = indexFiles([...services, ReflectionV1, ReflectionV1Alpha].map((service) => service.file));

  async function* answer<R extends { readonly messageRequest: Question }>(requests: AsyncIterable<R>) {
    for await (const request of requests) {
      yield { validHost: "", originalRequest: request, messageResponse: reply(request.messageRequest, names, index) };
    }
  }
  return [
    implement(ReflectionV1, { serverReflectionInfo: answer }),
    implement(ReflectionV1Alpha, { serverReflectionInfo: answer }),
  ];
}

type Question = { readonly case: string | undefined; readonly value?: unknown };
type FileIndex = { readonly byPath: ReadonlyMap<string, DescFile>; readonly bySymbol: ReadonlyMap<string, DescFile> };

function reply(question: Question, names: readonly string[], index: FileIndex) {
  const text = typeof question.value === "string" ? question.value : "";
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse" as const, value: { service: names.map((name) => ({ name })) } };
    case "fileByFilename":
      return fileReply(index.byPath.get(text), text);
    case "fileContainingSymbol":
      return fileReply(index.bySymbol.get(text), text);
    case "allExtensionNumbersOfType":
    case "fileContainingExtension":
      return failure(status.NOT_FOUND, "this server declares no extensions");
    default:
      return failure(status.INVALID_ARGUMENT, "message_request: is required");
  }
}

/** A file and everything it imports, each once: what saves the client further questions. */
function fileReply(file: DescFile | undefined, wanted: string) {
  if (!file) {
    return failure(status.NOT_FOUND, `${wanted} is not known here`);
  }
  const files = new Map<string, DescFile>();
  const visit = (next: DescFile) => {
    if (!files.has(next.name)) {
      files.set(next.name, next);
      next.dependencies.forEach(visit);
    }
  };
  visit(file);
  const fileDescriptorProto = [...files.values()].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto } };
}

function failure(errorCode: status, errorMessage: string) {
  return { case: "errorResponse" as const, value: { errorCode, errorMessage } };
}

function indexFiles(roots: readonly DescFile[]): FileIndex {
  const byPath = new Map<string, DescFile>();
  const bySymbol = new Map<string, DescFile>();
  const visit = (file: DescFile) => {
    const path = file.proto.name;
    if (byPath.has(path)) {
      return;
    }
    byPath.set(path, file);
    for (const type of [...file.messages, ...file.enums]) {
      addType(type, file, bySymbol);
    }
    for (const service of file.services) {
      bySymbol.set(service.typeName, file);
      for (const method of service.methods) {
        bySymbol.set(`${service.typeName}.${method.name}`, file);
      }
    }
    file.dependencies.forEach(visit);
  };
  roots.forEach(visit);
  return { byPath, bySymbol };
}

function addType(
  type: DescFile["messages"][number] | DescFile["enums"][number],
  file: DescFile,
  into: Map<string, DescFile>,
): void {
  into.set(type.typeName, file);
  if (type.kind === "message") {
    for (const nested of [...type.nestedMessages, ...type.nestedEnums]) {
      addType(nested, file, into);
    }
  }
}
