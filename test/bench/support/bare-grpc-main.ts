/** A gRPC server of nothing but grpc-js, echoing bytes: what one unary call costs without us. */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { echoMethod } from "./bare-grpc.ts";

const server = new Server();
server.addService(
  { echo: echoMethod },
  {
    echo: (call: { request: Buffer }, reply: (error: null, answer: Buffer) => void) => reply(null, call.request),
  },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${port}\n`);
});
process.on("disconnect", () => process.exit(0));
