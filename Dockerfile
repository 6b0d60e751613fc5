# kora-server as a container.
#
#   docker build -t kora-server .
#   docker run -p 4567:4567 -v kora-data:/data kora-server
#
# Configure it by environment (KORA_SCHEMA, DATABASE_URL, KORA_AUTH_SECRET, …) or mount your own
# files over /config/kora.config.ts and /config/schema.ts. SQLite data live in the volume /data.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Nothing needs an install script: SQLite's driver for this Node brings its binary.
RUN npm ci --ignore-scripts --no-fund --no-audit
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build-dashboard.ts ./scripts/
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-fund --no-audit && rm -rf node_modules/better-sqlite3-node20

FROM node:24-bookworm-slim
ENV NODE_ENV=production KORA_DB=/data/kora-server.db
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY bin ./bin
COPY package.json LICENSE README.md CHANGELOG.md ./
COPY config /config
RUN ln -s /app /app/node_modules/kora-server && mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 4567
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 4567}/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/bin/kora-server.js"]
CMD ["start", "--config", "/config/kora.config.ts"]
