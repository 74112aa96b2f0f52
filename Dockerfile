# One image for every service, and for all of them in one process: the command selects one.
# It runs as a plain user, with a read-only root and without capabilities; only a single process
# with its own database writes, into /lucky/data.
ARG BASE=node:22.23.3-bookworm-slim

# Only the packages that the services load, without their other files.
FROM ${BASE} AS packages
ENV NODE_ENV=production
WORKDIR /lucky
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev
# Removed: TypeScript, which is an optional peer of @prisma/client for its generator; Prisma's
# compilers for other databases; uWebSockets.js for other platforms and versions of Node; and files
# for compilers and debuggers.
RUN rm -r node_modules/typescript node_modules/@typescript \
 && find node_modules/@prisma/client/runtime -name "*_bg.*" ! -name "*.postgresql.*" -delete \
 && find node_modules/uWebSockets.js/dist/bin -type f \
      ! -name "$(node -p '`uws_${process.platform}_${process.arch}_${process.versions.modules}.node`')" -delete \
 && find node_modules -type f \
      \( -name "*.map" -o -name "*.d.ts" -o -name "*.d.mts" -o -name "*.d.cts" -o -name "*.a" \) -delete
COPY gen gen
COPY prisma prisma
COPY platform platform
COPY services services
# Fails when a file is missing that the single process, a service or a command loads.
RUN for script in all migrate buckets; do node -e "import('/lucky/services/$script.ts')" || exit 1; done
# npm reports absent development packages as faults.
RUN npm pkg delete devDependencies \
 && npm sbom --omit=dev --sbom-format=cyclonedx --sbom-type=application >/lucky.cdx.json

# The software bill of materials: docker build --target sbom --output . .
FROM scratch AS sbom
COPY --from=packages /lucky.cdx.json /

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Lucky" \
      org.opencontainers.image.description="An instant-messaging server: gRPC-first, polyglot-ready, nothing lost." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
# LUCKY_HOST: the loopback of a container cannot be reached from outside.
ENV NODE_ENV=production \
    LUCKY_HOST=0.0.0.0 \
    LUCKY_OPS_PORT=9100
WORKDIR /lucky
RUN install -d -o node -g node data
COPY --from=packages /lucky/node_modules node_modules
COPY package.json ./
COPY gen gen
COPY prisma prisma
COPY platform platform
COPY services services
# The number, not the name: Kubernetes then sees that it is not root.
USER 1000:1000
EXPOSE 9191
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.LUCKY_OPS_PORT + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--disable-warning=ExperimentalWarning", "services/all.ts"]
