import { runService } from "@manyhands/kit";
import { readConfig } from "./config.ts";
import { createDeps } from "./deps.ts";
import { createServer } from "./server.ts";

await runService("session-store", { readConfig, createDeps, createServer });
