import { describeDriver } from "../driver.contract.ts";
import { createVirtualDriver } from "./virtual-driver.ts";

describeDriver("virtual", { processes: false }, async () => createVirtualDriver("contract", () => Date.now()));
