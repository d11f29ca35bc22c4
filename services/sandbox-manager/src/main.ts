import { runService } from "@manyhands/kit";
import { sandboxManager } from "./index.ts";

await runService("sandbox-manager", sandboxManager);
