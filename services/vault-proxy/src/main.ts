import { runService } from "@manyhands/kit";
import { readConfig } from "./config.ts";
import { createDeps } from "./deps.ts";
import { forbidDumps } from "./no-dumps.ts";
import { createServer } from "./server.ts";

forbidDumps([...process.execArgv, process.env.NODE_OPTIONS ?? ""]);
await runService("vault-proxy", { readConfig, createDeps, createServer });
