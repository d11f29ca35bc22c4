/** A stand-in child for supervisor tests: reports ready, notes its end, and can misbehave on demand. */
import { appendFileSync, renameSync, writeFileSync } from "node:fs";

const { FAKE_NAME, FAKE_JOURNAL, FAKE_MODE, MH_READY_FILE } = process.env;
const note = (what) => appendFileSync(FAKE_JOURNAL, `${what} ${FAKE_NAME} ${process.pid}\n`);

console.log(`${FAKE_NAME} started`);
note("start");
if (FAKE_MODE === "crash") {
  console.error(`${FAKE_NAME}: the reason of the crash`);
  process.exit(3);
}
process.on("SIGTERM", () => {
  note("term");
  if (FAKE_MODE !== "stubborn") process.exit(0);
});
setInterval(() => undefined, 60_000);
if (FAKE_MODE !== "never-ready") {
  writeFileSync(`${MH_READY_FILE}.new`, JSON.stringify({ service: FAKE_NAME, pid: process.pid, addresses: {} }));
  renameSync(`${MH_READY_FILE}.new`, MH_READY_FILE);
}
