import { runService } from "@manyhands/kit";
import { gateway } from "./index.ts";

await runService("gateway", gateway);
