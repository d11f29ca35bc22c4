/** Reads everything back, past the service that wrote it and through it, and has it checked. */
import { connectBus, createDirectReader, followLog, subjects } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { eventually } from "@manyhands/testkit";
import { checkLog, type Findings, type RawFrame } from "./check-log.ts";
import { connectSessions, type Ledger, textOf } from "./writers.ts";

const readMs = 120_000;
const pageSize = 1000;

/** Every frame of the log in the order in which the stream holds them, read from NATS itself. */
export async function readFrames(natsUrl: string): Promise<RawFrame[]> {
  const bus = await connectBus({ url: natsUrl, name: "durability reader", logger: silentLogger() });
  const frames: RawFrame[] = [];
  let done = false;
  try {
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: ({ sessionId, frame, payload }) => void frames.push({ sessionId, number: frame, payload }),
      onCaughtUp: () => {
        done = true;
      },
    });
    await eventually(() => done, { timeoutMs: readMs, everyMs: 20 });
    await follower.stop();
    return frames;
  } finally {
    await bus.close();
  }
}

/** How many frames of the log were stored in groups. */
export async function framesInGroups(natsUrl: string): Promise<number> {
  const bus = await connectBus({ url: natsUrl, name: "durability reader", logger: silentLogger() });
  const reader = createDirectReader(bus);
  const place = { stream: "MH_LOG", subject: subjects.logAll, count: pageSize, timeoutMs: readMs } as const;
  let grouped = 0;
  try {
    for (let fromSequence = 1; ; ) {
      const { messages, cut } = await reader.nextOf({ ...place, fromSequence });
      grouped += messages.filter((message) => message.header("Nats-Batch-Id") !== undefined).length;
      if (!cut) return grouped;
      fromSequence = (messages.at(-1)?.sequence ?? 0) + 1;
    }
  } finally {
    reader.close();
    await bus.close();
  }
}

/** Texts of a session's events by position, as the service tells them; the platform's own first event is not told. */
export async function readThroughService(address: string, sessionId: string): Promise<Map<number, string>> {
  const client = connectSessions(address);
  try {
    const texts = new Map<number, string>();
    let pageToken = "";
    let newest = 0;
    do {
      const page = await client.getEvents({ sessionId, pageToken, pageSize });
      for (const event of page.events) {
        const position = Number(event.position);
        if (position !== newest + 1) throw new Error(`${sessionId}: ${position} is told after ${newest}`);
        newest = position;
        texts.set(position, textOf(event) ?? event.type);
      }
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return texts;
  } finally {
    client.close();
  }
}

/** Checks what NATS holds, and that the service tells each acknowledged event at its position. */
export async function checkEverything(natsUrl: string, address: string, ledger: Ledger): Promise<Findings> {
  const findings = checkLog(await readFrames(natsUrl), ledger);
  const told = new Map<string, Map<number, string>>();
  for (const { sessionId } of ledger.acknowledged) {
    if (!told.has(sessionId)) told.set(sessionId, await readThroughService(address, sessionId));
  }
  const untold = ledger.acknowledged.filter((one) => told.get(one.sessionId)?.get(one.position) !== one.text);
  const problems = [
    ...findings.problems,
    ...untold.slice(0, 3).map((one) => `the service does not tell ${one.text} at ${one.position}`),
    ...ledger.wrongAnswers,
  ];
  return { ...findings, lost: Math.max(findings.lost, untold.length), problems };
}
