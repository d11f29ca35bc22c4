import { describeMemories } from "../../mounts/memories.contract.ts";
import { describeMounts } from "../../mounts/mounts.contract.ts";
import { describeDriver } from "../driver.contract.ts";
import { createVirtualDriver } from "./virtual-driver.ts";

const make = async () => createVirtualDriver("contract", () => Date.now());
describeDriver("virtual", { processes: false }, make);
describeMounts("virtual", make);
describeMemories("virtual", make);
