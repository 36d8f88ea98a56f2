import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { freePort } from "../support/free-port.ts";

/**
 * Why tests that need a tool must be skipped; false: it is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be.
 *
 * @param tool `prometheus` or `promtool`, which are in Debian's package `prometheus`.
 */
export function missing(tool: string): string | false {
  if (process.env.CI_TOOLS === "1" || spawnSync(tool, ["--version"]).error === undefined) return false;
  return `${tool} is not installed (Debian: apt-get install prometheus)`;
}

export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

export interface Prometheus extends AsyncDisposable {
  /** The result of a query now. */
  query(query: string): Promise<Series[]>;
  /** What the API answers under `/api/v1/`. */
  get<T>(path: string): Promise<T>;
  /** Resolves when it has scraped and evaluated its rules so many times from now on. */
  rounds(count: number): Promise<void>;
}

/** Starts a Prometheus that scrapes an address every second, as `job="parley"` in `namespace="default"`. */
export async function startPrometheus(target: string, rules: string): Promise<Prometheus> {
  await using starting = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "parley-prometheus-"));
  starting.defer(() => rmSync(folder, { recursive: true }));
  const config = {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: [rules],
    scrape_configs: [{ job_name: "parley", static_configs: [{ targets: [target], labels: { namespace: "default" } }] }],
  };
  // JSON is YAML.
  writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(config));
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn(
    "prometheus",
    [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=${address}`,
      "--log.level=warn",
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  await once(child, "spawn");
  const exit = once(child, "close");
  starting.defer(async () => {
    child.kill("SIGKILL");
    await exit;
  });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });

  async function get<T>(path: string): Promise<T> {
    const response = await fetch(`http://${address}/api/v1/${path}`);
    const { data, error } = (await response.json()) as { data: T; error?: string };
    if (error !== undefined) throw new Error(`${error}, in ${decodeURIComponent(path)}`);
    return data;
  }

  async function query(text: string): Promise<Series[]> {
    return (await get<{ result: Series[] }>(`query?query=${encodeURIComponent(text)}`)).result;
  }

  /** Prometheus tells nobody of what it does: there is no other way than to ask again. */
  async function until(happened: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + 20_000;
    while (!(await happened())) {
      if (performance.now() > deadline || child.exitCode !== null) throw new Error(`Prometheus is stuck: ${errors}`);
      await setTimeout(50);
    }
  }

  const ready = () => fetch(`http://${address}/-/ready`).then(({ ok }) => ok);
  await until(() => ready().catch(() => false));
  const running = starting.move();
  return {
    query,
    get,
    async rounds(count) {
      const begin = Date.now() / 1_000 + count - 1;
      await until(async () => {
        const [scraped] = await query('timestamp(up{job="parley"})');
        return Number(scraped?.value[1]) > begin;
      });
      await until(async () => {
        const { groups } = await get<{ groups: { lastEvaluation: string }[] }>("rules");
        return groups.every(({ lastEvaluation }) => Date.parse(lastEvaluation) / 1_000 > begin);
      });
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
