import { writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { parseArgs } from "node:util";
import { Upstream } from "./load/upstream.ts";
import { Figures, tableOf } from "./report.ts";
import { canPin, pinLoad, type ServerProcess } from "./servers/server.ts";
import { type Subject, startParley, startParleyWithTool, startPortkey, startRawForwarder } from "./servers/subjects.ts";
import { FORMS } from "./servers/telemetry-variants.ts";
import { agentRuns } from "./workloads/agent-runs.ts";
import { cancelStorm } from "./workloads/cancel-storm.ts";
import { type ClosedLoop, closedLoop } from "./workloads/closed-loop.ts";
import { idle } from "./workloads/idle.ts";
import { type Paced, paced } from "./workloads/paced.ts";
import { stalled } from "./workloads/stalled.ts";
import { barsOf, TelemetryCost } from "./workloads/telemetry.ts";

const { values: options } = parseArgs({
  options: {
    /** Rounds that count, after one that does not. */
    rounds: { type: "string", default: "5" },
    /** File for all numbers, as JSON. */
    json: { type: "string", default: "bench.json" },
    /** Names of the workloads to run, with commas between them. */
    only: { type: "string" },
  },
});
const rounds = Number(options.rounds);
const only = options.only?.split(",");

const CLOSED_LOOP_MS = 2_000;
const PACED_MS = 3_000;
const closedLoops: Readonly<Record<string, ClosedLoop>> = {
  saturating: { kind: "stream", concurrency: 64, tokens: 400, durationMs: CLOSED_LOOP_MS },
  "1-token streams": { kind: "stream", concurrency: 64, tokens: 1, durationMs: CLOSED_LOOP_MS },
  unary: { kind: "unary", concurrency: 64, tokens: 1, durationMs: CLOSED_LOOP_MS },
};
const pacedStreams: Readonly<Record<string, Omit<Paced, "durationMs"> & { readonly portkey: boolean }>> = {
  "15k tokens/s": { streams: 300, intervalMs: 20, portkey: true },
  // Portkey does not come through this, and would only take the time.
  "50k tokens/s": { streams: 1_000, intervalMs: 20, portkey: false },
};
const AGENT_TURNS = 8;
const MORE_CALLS = 3;
const IDLE_STREAMS = 2_000;
const STORM_MS = 60_000;

const COLUMNS = {
  servers: ["Parley", "raw", "Portkey"],
  ratios: [
    ["Parley", "raw"],
    ["Parley", "Portkey"],
  ],
} as const;
const [OFF, ...OTHER_FORMS] = FORMS;
const TELEMETRY_COLUMNS = {
  servers: FORMS.map(({ name }) => name),
  ratios: OTHER_FORMS.map(({ name }) => [name, OFF.name] as const),
};

const figures = new Figures();
const telemetryFigures = new Figures();

function noteParley(workload: string, figure: string, value: number): void {
  figures.note(workload, figure, 0, { name: "Parley" }, value);
}

const say = (text: string) => process.stderr.write(`${text}\n`);
const isWanted = (workload: string) => only === undefined || only.includes(workload);
/** Workloads of Parley alone. */
const ALONE = ["agents", "telemetry"];

async function runRound(counted: boolean, subjects: readonly Subject[], upstream: Upstream): Promise<void> {
  for (const [name, load] of Object.entries(closedLoops).filter(([name]) => isWanted(name))) {
    for (const subject of subjects) {
      const result = await closedLoop(subject, upstream, load);
      if (!counted) continue;
      if (name === "saturating") {
        figures.note(name, "CPU µs/token", 2, subject, result.cpu / result.tokens);
        figures.note(name, "tokens/s", 0, subject, result.tokens / result.seconds);
      } else {
        figures.note(name, "CPU µs/call", 0, subject, result.cpu / result.calls);
      }
    }
  }
  for (const [name, { portkey, ...load }] of Object.entries(pacedStreams).filter(([name]) => isWanted(name))) {
    for (const subject of subjects.filter((one) => portkey || one.name !== "Portkey")) {
      const result = await paced(subject, upstream, { ...load, durationMs: counted ? PACED_MS : PACED_MS / 3 });
      if (!counted) continue;
      figures.note(name, "CPU µs/token", 1, subject, result.cpu / result.delivered);
      figures.note(name, "delivered %", 1, subject, (100 * result.delivered) / result.sent);
      figures.note(name, "late, p50 ms", 2, subject, result.p50 / 1_000);
      figures.note(name, "late, p99 ms", 2, subject, result.p99 / 1_000);
    }
  }
}

/** What the loop of a run costs: differences between runs of which one has more turns, or more calls, than the other. */
async function runAgents(counted: boolean, server: ServerProcess, upstream: Upstream): Promise<void> {
  const cost = (turns: number, calls: number) =>
    agentRuns(server, upstream, { turns, calls, concurrency: 32, durationMs: CLOSED_LOOP_MS });
  const one = await cost(0, 0);
  const paused = await cost(AGENT_TURNS, 0);
  const single = await cost(AGENT_TURNS, 1);
  const many = await cost(AGENT_TURNS, 1 + MORE_CALLS);
  if (!counted) return;
  noteParley("agent runs", "CPU µs/run of one turn", one);
  noteParley("agent runs", "CPU µs/further turn", (paused - one) / AGENT_TURNS);
  noteParley("agent runs", "CPU µs/turn with a tool call", (single - one) / AGENT_TURNS);
  noteParley("agent runs", "CPU µs/further tool call", (many - single) / AGENT_TURNS / MORE_CALLS);
}

async function runOnce(subjects: readonly Subject[], upstream: Upstream): Promise<void> {
  const KIB = 1_024;
  for (const subject of subjects.filter(({ name }) => name !== "Portkey")) {
    if (isWanted("idle")) {
      say(`idle streams: ${subject.name}`);
      const result = await idle(subject, upstream, IDLE_STREAMS);
      figures.note("2,000 idle streams", "KiB/stream", 1, subject, result.bytesPerStream / KIB);
      figures.note("2,000 idle streams", "KiB/stream left", 1, subject, result.leftPerStream / KIB);
    }
    if (isWanted("stalled")) {
      say(`readers that stop: ${subject.name}`);
      const result = await stalled(subject, upstream, { readers: 4, durationMs: 4_000 });
      figures.note("4 readers that stop", "MiB in all", 1, subject, result.bytes / KIB ** 2);
      figures.note("4 readers that stop", "MiB later", 2, subject, result.growth / KIB ** 2);
    }
    if (isWanted("storm")) {
      say(`cancel storm: ${subject.name}`);
      const durationMs = subject.name === "Parley" ? STORM_MS : STORM_MS / 6;
      const result = await cancelStorm(subject, upstream, { streams: 200, perSecond: 200, durationMs });
      figures.note("cancel storm", "cancelled", 0, subject, result.cancelled);
      figures.note("cancel storm", "of them closed", 0, subject, result.closed);
      figures.note("cancel storm", "closed after, p50 ms", 2, subject, result.p50 / 1_000);
      figures.note("cancel storm", "closed after, p99 ms", 2, subject, result.p99 / 1_000);
      figures.note("cancel storm", "others late, p99 ms", 2, subject, result.liveP99 / 1_000);
    }
  }
}

if (!canPin()) say("processes cannot be pinned to processors here: the numbers will scatter more");
pinLoad();
const started = performance.now();
await using upstream = await Upstream.listen();
await using servers = new AsyncDisposableStack();
const agents = isWanted("agents") ? servers.use(await startParleyWithTool(upstream)) : undefined;
const telemetry = isWanted("telemetry") ? servers.use(await TelemetryCost.start(upstream)) : undefined;
const subjects: Subject[] = [];
const compares = only === undefined || only.some((workload) => !ALONE.includes(workload));
for (const start of compares ? [startParley, startRawForwarder, startPortkey] : []) {
  const subject = await start(upstream);
  servers.use(subject.server);
  subjects.push(subject);
}
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? "a round to warm up" : `round ${round} of ${rounds}`);
  await runRound(round > 0, subjects, upstream);
  if (agents !== undefined) await runAgents(round > 0, agents, upstream);
  await telemetry?.round(closedLoops, round > 0 ? telemetryFigures : undefined);
}
await runOnce(subjects, upstream);

const machine = { node: process.version, cpu: cpus()[0]?.model, processors: availableParallelism(), pinned: canPin() };
const seconds = Math.round((performance.now() - started) / 1_000);
const text = figures.all.length === 0 ? [] : [tableOf(figures.all, COLUMNS)];
if (telemetry !== undefined) {
  text.push(
    tableOf(telemetryFigures.all, TELEMETRY_COLUMNS),
    ...(await telemetry.exported()),
    ...barsOf(telemetryFigures),
  );
}
process.stdout.write(`${text.join("\n")}\n`);
const numbers = { machine, rounds, seconds, figures: figures.all, telemetry: telemetryFigures.all };
writeFileSync(options.json, JSON.stringify(numbers, undefined, 2));
say(`${rounds} rounds in ${seconds} s; all numbers are in ${options.json}`);
