import type { Config } from "../config/config.ts";
import type { AdminEndpoint, AdminReply } from "../listen/admin-listener.ts";
import type { RunRecord } from "../runs/run-record.ts";
import type { ActiveCalls } from "./active-calls.ts";
import { cpuProfile, heapSnapshot } from "./profiling.ts";
import { callsInProgress, runsInProgress } from "./progress.ts";
import { shownConfig } from "./shown-config.ts";

export interface DebugOptions {
  readonly config: Config;
  readonly calls: ActiveCalls;
  /** Runs that have not ended. */
  readonly runs: () => readonly RunRecord[];
}

/** For whoever looks into a running process. What is off says how to turn it on. */
export function debugEndpoints({ config, calls, runs }: DebugOptions): Readonly<Record<string, AdminEndpoint>> {
  const { debug, profiling } = config.admin;
  const oneAtATime = exclusive();
  return {
    "/debug/calls": debug ? () => json(callsInProgress(calls)) : off("debug"),
    "/debug/runs": debug ? () => json(runsInProgress(runs())) : off("debug"),
    "/debug/config": debug ? () => json(shownConfig(config)) : off("debug"),
    "/debug/cpu-profile": profiling ? oneAtATime(takeCpuProfile) : off("profiling"),
    "/debug/heap-snapshot": profiling ? oneAtATime(takeHeapSnapshot) : off("profiling"),
  };
}

const takeCpuProfile: AdminEndpoint = async ({ query, signal }) => {
  const seconds = query.get("seconds") ?? "10";
  if (!/^(?:[1-9]|[1-5]\d|60)$/.test(seconds)) return text(400, "seconds must be a whole number from 1 to 60\n");
  return file("cpuprofile", await cpuProfile(Number(seconds), signal));
};

const takeHeapSnapshot: AdminEndpoint = () => file("heapsnapshot", heapSnapshot());

/** Each is a load on the process: at any time there is one, of either kind, and until the caller has it. */
function exclusive(): (endpoint: AdminEndpoint) => AdminEndpoint {
  let taken = false;
  return (endpoint) => async (request) => {
    if (request.method !== "GET") return text(405, "only GET\n");
    if (taken) return text(409, "another profile or snapshot is being taken\n");
    taken = true;
    request.signal.addEventListener("abort", () => {
      taken = false;
    });
    return endpoint(request);
  };
}

function off(setting: string): AdminEndpoint {
  return () => text(403, `this is off: admin.${setting} in the file that PARLEY_CONFIG names turns it on\n`);
}

function json(value: unknown): AdminReply {
  return { status: 200, type: "application/json", body: `${JSON.stringify(value, undefined, 2)}\n` };
}

function text(status: number, body: string): AdminReply {
  return { status, body };
}

function file(ending: string, body: AdminReply["body"]): AdminReply {
  const name = `parley-${process.pid}-${new Date().toISOString().replaceAll(/[:.]/g, "-")}.${ending}`;
  return { status: 200, type: "application/json", name, body };
}
