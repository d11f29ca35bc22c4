# One image per service: `docker build -f deploy/service.Dockerfile --build-arg SERVICE=session-store .`
# SERVICE is a folder of services/, or `demo-model`. The first stage is the same for all of them and is built once.
FROM node:24-bookworm AS build
WORKDIR /src
RUN npm install --global pnpm@12.21.0
# Downloading depends on the lockfile alone, so a changed source costs seconds.
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
RUN pnpm fetch
COPY tsconfig.base.json tsconfig.build.json ./
COPY packages packages
COPY services services
COPY test/package.json test/package.json
RUN pnpm install --frozen-lockfile --offline && pnpm -r run build

FROM build AS deploy
ARG SERVICE
COPY deploy/health.mjs /out/health.mjs
RUN pnpm --filter "@manyhands/${SERVICE}" --prod deploy /out/app && mv /out/health.mjs /out/app/
# Only sandbox-manager carries the agent that it puts into hands.
RUN if [ "${SERVICE}" = sandbox-manager ]; then \
      node services/sandbox-manager/agent/build.mjs /out/app/bin && mv /out/app/bin/hand-agent-* /out/app/bin/hand-agent; \
    fi

FROM node:24-bookworm-slim
ARG SERVICE
LABEL org.opencontainers.image.title="manyhands ${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production MH_GRPC_LISTEN=0.0.0.0:7000 MH_ADMIN_LISTEN=0.0.0.0:9000
COPY --from=deploy /out/app /app
WORKDIR /app
USER 65532:65532
EXPOSE 7000 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=3s --start-period=60s --retries=5 CMD ["node", "/app/health.mjs"]
ENTRYPOINT ["node", "/app/dist/main.js"]
