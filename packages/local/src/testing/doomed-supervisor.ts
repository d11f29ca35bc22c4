/** Run as a process by a test that kills it: supervises two fake children in the folder given as its argument. */
import { Supervisor } from "../supervisor.ts";
import { fakeSpec } from "./fake-spec.ts";

const dir = process.argv[2] ?? "";
const supervisor = new Supervisor({ progress: () => undefined, stopOrder: [] });
await supervisor.start([[fakeSpec(dir, "one"), fakeSpec(dir, "two")]]);
process.stdout.write("up\n");
