# kora-server as a container.
#
#   docker build -t kora-server .
#   docker run -p 4567:4567 -v kora-data:/data kora-server
#
# Configure it by environment (KORA_SCHEMA, DATABASE_URL, KORA_AUTH_SECRET, …) or mount your own
# files over /config/kora.config.ts and /config/schema.ts. SQLite data live in the volume /data,
# which is all that it writes to: it runs with --read-only.

FROM node:24-bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils ca-certificates tini
WORKDIR /app
COPY package.json package-lock.json ./
# Nothing needs an install script: SQLite's driver for this Node brings its binary.
RUN npm ci --ignore-scripts --no-fund --no-audit
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build-dashboard.ts scripts/build-server.ts scripts/bundle-options.ts ./scripts/
COPY src ./src
# Without their names, too: a tool of development that a library can make use of would stay.
RUN npm run build && npm pkg delete devDependencies && npm prune --ignore-scripts --no-fund --no-audit
COPY bin ./bin
COPY LICENSE README.md CHANGELOG.md ./
COPY config /config
COPY scripts/image-root.sh ./scripts/
RUN scripts/image-root.sh /image

# Node, the app and the libraries that they load: no shell, no package manager.
FROM scratch
COPY --from=build /image /
COPY --from=build --chown=1000:1000 /data /data
ENV PATH=/usr/local/bin:/usr/bin NODE_ENV=production KORA_DB=/data/kora-server.db
WORKDIR /app
USER node
VOLUME /data
EXPOSE 4567
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s \
  CMD ["kora-server", "status", "--ready", "--config", "/config/kora.config.ts"]
# tini passes signals on, and buries what a health check may leave behind.
ENTRYPOINT ["tini", "--", "kora-server"]
CMD ["start", "--config", "/config/kora.config.ts"]
