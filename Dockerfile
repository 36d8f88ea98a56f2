# Builds with any builder of OCI images:
#
#   docker build --tag registry.example/parley:0.1.0 \
#     --build-arg NODE_DIGEST=sha256:… --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#     --build-arg CREATED="$(date -u +%FT%TZ)" .
#
# The digest keeps the base from changing under its tag: `docker buildx imagetools inspect node:26.10.0-trixie-slim` tells it.
ARG NODE_IMAGE=docker.io/library/node:26.10.0-trixie-slim
ARG NODE_DIGEST=

FROM ${NODE_IMAGE}${NODE_DIGEST:+@}${NODE_DIGEST} AS build
# Node, and the libraries that it links to: nothing else is in the image, and so neither a shell nor a package manager.
RUN set -eu; \
  root=/runtime; node="$(command -v node)"; \
  mkdir -p "$root/usr/local/bin" "$root/etc"; \
  cp -L "$node" "$root/usr/local/bin/node"; \
  if ldd "$node" | grep 'not found'; then exit 1; fi; \
  ldd "$node" | grep -o '/[^ ]*' | sort -u | xargs -I '{}' cp -L --parents '{}' "$root"; \
  echo 'parley:x:65532:65532:Parley:/nonexistent:/sbin/nologin' > "$root/etc/passwd"; \
  echo 'parley:x:65532:' > "$root/etc/group"; \
  echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
WORKDIR /parley
COPY LICENSE package.json package-lock.json .npmrc ./
# No package that the service needs has to build anything. The bill of materials is that of what has been installed, and of Node:
# npm would miss what is for development alone, and so must not know of it. What only compilers and debuggers read is left out:
# Node runs no TypeScript of packages.
RUN npm ci --omit=dev --ignore-scripts \
  && npm pkg delete devDependencies \
  && npm sbom --sbom-format=cyclonedx --sbom-type=application > packages.json \
  && node --print 'const version = process.versions.node, bill = require("./packages.json"); \
    bill.components.push({ "bom-ref": `node@${version}`, type: "platform", name: "node", version, \
      purl: `pkg:generic/node@${version}`, cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`, \
      licenses: [{ license: { id: "MIT" } }] }); \
    JSON.stringify(bill, undefined, 2)' > sbom.cdx.json \
  && rm packages.json package-lock.json .npmrc \
  && find node_modules -type f \( -name '*.ts' -o -name '*.mts' -o -name '*.cts' -o -name '*.map' \) -delete

FROM scratch
ARG VERSION=
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="The gRPC service through which an organisation's own microservices use Claude." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
ENV NODE_ENV=production PATH=/usr/local/bin
# What changes the least comes first: with a layer cache, a new version of the service is a layer of its own alone.
COPY --from=build /runtime /
COPY --from=build /parley /parley
WORKDIR /parley
COPY gen gen
COPY src src
USER 65532:65532
EXPOSE 8080 9090
# As `npm start`, without npm: node is the first process, gets the signals, and has handlers for them from its first moment on.
# Whether it is healthy, Kubernetes asks by itself.
ENTRYPOINT ["node", "--max-semi-space-size=16"]
CMD ["src/main.ts"]
