/** What each command does; shown by --help without setting anything up. */
export const commands = {
  start: `npm start [-- options]      bring the whole platform up on this machine

  --harness N            how many harness processes (default 1)
  --sandbox-manager N    how many sandbox-manager processes (default 1)
  --hands DRIVER         docker or virtual (default: docker when a Docker Engine answers)
  --ephemeral            keep nothing: data lives in a temporary folder removed at the end
  --check                only look: list what was found and what is missing

  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL   use this model instead of the demo model
  NATS_SERVER_BIN, DOCKER_HOST            use this nats-server, this Docker Engine
  MH_STATE_DIR                            keep everything there instead of in .manyhands/
  Data lives in .manyhands/, the facts of the running platform in .manyhands/dev.json. Ctrl-C drains and stops.`,
  demo: `npm run demo [-- --kill]      a real bug fixed by an agent through the whole platform

  --kill                 kill the harness and then the sandbox in mid-task; the task still finishes once`,
  test: `npm test [-- options] [filters]      set everything up and run every check and test

  --only checks|unit|int|e2e   only this part; filters are passed to vitest
  --install-docker       as root with apt: install docker.io and start dockerd when no engine answers
                         (CI=true implies it)`,
  bench: `npm run --silent bench -- [NAME] [--json] [--rounds N]      run test/bench/NAME.bench.ts

  without NAME           list the benchmarks
  --json                 one JSON object on standard output`,
  verify: `npm run verify [-- options] [filters]      what continuous integration runs: checks, unit, int, e2e

  --only checks|unit|int|e2e   only this part; filters are passed to vitest`,
  setup: `node packages/local/bootstrap.mjs setup      only fetch what the other commands need`,
};

export const usage = `usage: node packages/local/bootstrap.mjs <${Object.keys(commands).join("|")}> [options]

${Object.values(commands).join("\n\n")}
`;
