import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { RunAgentRequestSchema } from "../../../gen/parley/v1/agent_service_pb.js";
import { Role } from "../../../gen/parley/v1/content_pb.js";
import { GrpcConnection, grpcHeader, grpcMessage } from "../load/grpc-connection.ts";
import type { Upstream } from "../load/upstream.ts";
import type { ServerProcess } from "../servers/server.ts";

export interface AgentRuns {
  /** Turns before the one that answers. */
  readonly turns: number;
  /** Tool calls in each of them. 0: the turn is paused, and goes on at once. */
  readonly calls: number;
  /** Runs at a time: each that ends is followed by another. */
  readonly concurrency: number;
  readonly durationMs: number;
}

const RAMP_MS = 500;
const CONNECTIONS = 8;
const header = grpcHeader("/parley.v1.AgentService/RunAgent", 120);
const request = grpcMessage(
  toBinary(
    RunAgentRequestSchema,
    create(RunAgentRequestSchema, {
      chat: {
        messages: [{ role: Role.USER, text: "Tell me something that I do not know yet." }],
        tools: [{ kind: { case: "registeredTool", value: "nothing" } }],
      },
    }),
  ),
);

/** Keeps a server busy with runs. Returns what one costs: CPU time of the server, in microseconds. */
export async function agentRuns(
  server: ServerProcess,
  upstream: Upstream,
  { turns, calls, concurrency, durationMs }: AgentRuns,
): Promise<number> {
  upstream.plan = { kind: "turns", turns, calls };
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => GrpcConnection.open(server.port)));
  let runs = 0;
  let running = concurrency;
  let stopping = false;
  let failure: Error | undefined;
  const { promise: ended, resolve } = Promise.withResolvers<void>();

  function start(connection: GrpcConnection): void {
    let messages = 0;
    connection.call(header, request, {
      message: () => messages++,
      end(complete) {
        runs++;
        // Each turn has at least its start, its end, and five events of Claude's between them.
        if (!complete || messages < 7 * (turns + 1)) failure ??= new Error(`a run with ${messages} events`);
        if (!stopping && failure === undefined) start(connection);
        else if (--running === 0) resolve();
      },
    });
  }
  for (let run = 0; run < concurrency; run++) start(connections[run % CONNECTIONS] as GrpcConnection);

  await sleep(RAMP_MS);
  const before = { runs, ...(await server.usage()) };
  await sleep(durationMs);
  const { cpu } = await server.usage();
  const cost = (cpu - before.cpu) / (runs - before.runs);
  stopping = true;
  await ended;
  for (const connection of connections) connection.close();
  if (failure !== undefined) throw failure;
  return cost;
}
