import { describeFailure } from "./setup-error.ts";

/** One module per command, loaded only when it is asked for: a start must not wait for what it does not use. */
const commands: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  start: async (args) => (await import("./commands/start.ts")).start(args),
  test: async (args) => (await import("./commands/test.ts")).test(args),
  verify: async (args) => (await import("./commands/test.ts")).verify(args),
  bench: async (args) => (await import("./commands/bench.ts")).bench(args),
  durability: async (args) => (await import("./commands/durability.ts")).durability(args),
  hands: async (args) => (await import("./commands/hands.ts")).hands(args),
  storm: async (args) => (await import("./commands/storm.ts")).storm(args),
  attacks: async (args) => (await import("./commands/attacks.ts")).attacks(args),
  leaks: async (args) => (await import("./commands/leaks.ts")).leaks(args),
  simulate: async (args) => (await import("./commands/simulate.ts")).simulate(args),
  replay: async (args) => (await import("./commands/replay.ts")).replay(args),
  streams: async (args) => (await import("./commands/streams.ts")).streams(args),
  demo: async (args) => (await import("./commands/demo.ts")).demo(args),
  setup: async (args) => (await import("./commands/setup.ts")).setup(args),
};

const [name = "", ...args] = process.argv.slice(2);
const command = commands[name];
try {
  if (command === undefined) throw new Error(`no command "${name}"`);
  process.exit(await command(args));
} catch (error) {
  process.stderr.write(describeFailure(error));
  process.exit(1);
}
