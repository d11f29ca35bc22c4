/** What each command does; shown by --help without setting anything up. */
export const commands = {
  start: `npm start [-- options]      bring the whole platform up on this machine

  --harness N            how many harness processes (default 1)
  --sandbox-manager N    how many sandbox-manager processes (default 1)
  --hands DRIVER         docker, bubblewrap or virtual (default: the first of them that works)
  --ephemeral            keep nothing: data lives in a temporary folder removed at the end
  --check                only look: list what was found and what is missing

  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL   use this model instead of the demo model
  NATS_SERVER_BIN, DOCKER_HOST            use this nats-server, this Docker Engine
  MH_STATE_DIR                            keep everything there instead of in .manyhands/
  Data lives in .manyhands/, the facts of the running platform in .manyhands/dev.json. Ctrl-C drains and stops.`,
  demo: `npm run demo [-- --kill]      a real bug fixed by an agent through the whole platform

  --kill                 kill the harness and then the sandbox in mid-task; the task still finishes once
  --hands DRIVER         docker, bubblewrap or virtual, when the demo starts the platform itself
  --harness N            likewise; --sandbox-manager N likewise
  --url URL --api-key K  run against an API that runs elsewhere, for instance docker compose
  --git-host ADDRESS     address at which that platform reaches this machine (default 127.0.0.1)
  --timeout SECONDS      give up after that long (default 240)`,
  test: `npm test [-- options] [filters]      set everything up and run every check and test

  --only checks|unit|int|e2e   only this part; filters are passed to vitest
  --no-install           as root with apt: do not install bubblewrap and docker.io where missing`,
  bench: `npm run --silent bench -- [NAME] [--json] [--rounds N]      run test/bench/NAME.bench.ts

  without NAME           list the benchmarks
  --json                 one JSON object on standard output`,
  durability: `npm run --silent durability -- [NAME] [--json] [--runs N] [--seed N]      break processes and disks under load

  without NAME           list the rigs in test/durability
  --runs N               how many faults (default: the bar's own number)
  --json                 one JSON object on one line of standard output; the exit code is 1 when a bar is missed`,
  hands: `npm run --silent hands -- [NAME] [--json] [--runs N] [--seed N]      make, kill and lose many hands on a real engine

  without NAME           list the rigs in test/hands
  --runs N               how many sessions, operations or hands (default: the bar's own number)
  --json                 one JSON object on one line of standard output; the exit code is 1 when a bar is missed`,
  storm: `npm run --silent storm -- [--kills N] [--sessions M] [--seed S] [--hands auto|virtual] [--json]

  SIGKILLs harness, session-store and sandbox-manager processes at random moments while sessions run tools with side
  effects, then reads everything back. The exit code is 1 when anything acknowledged was lost or doubled, an operation
  ran twice, a session is stuck or ended wrongly, or a context was rebuilt from other bytes.

  --kills N              how many kills (default 100)
  --sessions M           how many sessions (default 20)
  --seed S               victims and pauses (default 1)
  --hands auto|virtual   auto: docker when an engine answers; managers of virtual hands are not killed, for hands die with them
  --json                 one JSON object instead of a table`,
  replay: `npm run --silent replay -- SESSION --harness KIND[@VERSION] [--mode recorded|shadow] [--json]

  Feeds the log of a session to a harness of the running platform and compares decision by decision. Runs no tool, writes
  nothing; shadow asks the model anew. The exit code is 1 when it would not have gone the same way.

  --set KEY=VALUE        try another setting, for instance manyhands.context=window; repeatable
  --decisions-only       other requests are reported, but only other decisions count as a difference
  --address HOST:PORT    gRPC of the harness (default: the platform of .manyhands/dev.json, or MH_HARNESS_ADDR)
  --json                 one JSON object instead of a table`,
  streams: `npm run --silent streams -- diff|apply [--nats URL] [--replicas N] [--json]

  diff                   where the streams and buckets of a NATS server differ from what the code declares; changes
                         nothing; the exit code is 1 when something does
  apply                  create what is missing, change what differs; what the server refuses to change is told
  --nats URL             default MH_NATS_URL, or nats://127.0.0.1:4222; MH_NATS_USER and MH_NATS_PASSWORD where needed
  --replicas N           copies in the cluster (default MH_NATS_REPLICAS, or 1)
  --json                 one JSON object instead of a table`,
  simulate: `npm run --silent simulate -- [--seeds N] [--from S] [--trace] [--json]

  Runs the real harness loop, a memory log and an operation ledger in one process under a seeded scheduler with faults.
  The exit code is 1 when an invariant is broken; what is printed then replays that seed.

  --seeds N              how many seeds (default 20000)
  --from S               the first one (default 1)
  --trace                print what happens, step by step
  --json                 one JSON object instead of a table`,
  leaks: `npm run --silent leaks -- [--json]

  Runs a session that uses a credential of every kind with a model that steals, then looks for each credential in the log,
  streams, answers, hands, logs, metrics, files and memory of every service but the vault-proxy. The same search over a
  platform that leaks on purpose proves that it sees. The exit code is 1 on one find, or where the search is blind.

  --no-install           install nothing
  --json                 one JSON object instead of a table
`,
  attacks: `npm run --silent attacks -- [--json] [--runtimes LIST] [--only TEXT] [--fast]

  Attacks hands of every kind from inside, each attack with a control that must work where the defence is off. As root
  with apt it installs what is missing (gVisor is registered with the engine until the end). The exit code is 1 unless
  every attack is contained.

  --runtimes LIST        of runc,runsc,bubblewrap,virtual (default: all)
  --only TEXT            only attacks whose name contains this
  --fast                 the selection that the tests run
  --no-install           install nothing
  --json                 one JSON object instead of a table`,
  verify: `npm run verify [-- options] [filters]      what continuous integration runs: checks, unit, int, e2e

  --only checks|unit|int|e2e   only this part; filters are passed to vitest`,
  setup: `node packages/local/bootstrap.mjs setup      only fetch what the other commands need`,
};

export const usage = `usage: node packages/local/bootstrap.mjs <${Object.keys(commands).join("|")}> [options]

${Object.values(commands).join("\n\n")}
`;
