import { runService } from "@manyhands/kit";
import { harness } from "./index.ts";

await runService("harness", harness);
