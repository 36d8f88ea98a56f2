import assert from "node:assert/strict";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type AgentEvent,
  AgentService,
  type Run,
  type RunAgentRequestSchema,
} from "../../gen/parley/v1/agent_service_pb.js";
import type { ChatRequestSchema, ChatResponse } from "../../gen/parley/v1/chat_service_pb.js";
import { Role } from "../../gen/parley/v1/content_pb.js";
import type { Script } from "../../src/simulator/simulator.ts";
import { type Told, toldBy } from "./details.ts";
import type { ScriptedTools } from "./scripted-tools.ts";
import { type Service, type ServiceOptions, startService } from "./service.ts";

export type RunInput = Omit<MessageInitShape<typeof RunAgentRequestSchema>, "chat"> & {
  readonly chat?: MessageInitShape<typeof ChatRequestSchema>;
};

/** A service whose tools are scripted. */
export async function startAgents(
  tools: ScriptedTools,
  script: Script["steps"] | undefined,
  options: ServiceOptions = {},
): Promise<Service> {
  return startService({
    ...options,
    ...(script !== undefined && { script: { steps: script } }),
    overrides: { ...options.overrides, tools },
  });
}

/** A request that offers all scripted tools. */
export function ask(
  tools: ScriptedTools | readonly string[],
  { chat, ...rest }: RunInput = {},
): RunInput & { chat: object } {
  const names = Array.isArray(tools)
    ? (tools as readonly string[])
    : (tools as ScriptedTools).tools.map(({ name }) => name);
  return {
    ...rest,
    chat: {
      messages: [{ role: Role.USER, text: "Go." }],
      tools: names.map((value) => ({ kind: { case: "registeredTool", value } })),
      ...chat,
    },
  };
}

/** A turn of Claude's that calls tools: their names with their arguments. */
export function calls(
  ...called: readonly (readonly [name: string, input?: object, id?: string])[]
): Script["steps"][number] {
  return {
    respond: {
      content: called.map(([name, input = {}, id], index) => ({
        type: "tool_use",
        id: id ?? `toolu_${name}_${index}`,
        name,
        input,
      })),
      stop_reason: "tool_use",
    },
  };
}

/** A turn of Claude's that answers. */
export function says(text: string): Script["steps"][number] {
  return { respond: { content: [{ text }] } };
}

/** What a caller sees of a run. */
export class SeenRun {
  readonly events: AgentEvent[] = [];
  failure: Told | undefined;

  get kinds(): string[] {
    return this.events.map(({ event }) => event.case ?? "");
  }

  /** Kinds of events that are not Claude's own. */
  get outline(): string[] {
    return this.kinds.filter((kind) => kind !== "messageEvent");
  }

  of<K extends NonNullable<AgentEvent["event"]["case"]>>(
    kind: K,
  ): Extract<AgentEvent["event"], { case: K }>["value"][] {
    return this.events.flatMap(({ event }) => (event.case === kind ? [event.value as never] : []));
  }

  get finished(): { readonly run: Run; readonly finalMessage: ChatResponse | undefined } {
    const [finished] = this.of("runFinished").slice(-1);
    assert.ok(finished?.run, "the run has not finished");
    return { run: finished.run, finalMessage: finished.finalMessage };
  }

  get id(): string {
    return this.events[0]?.runId ?? "";
  }

  get text(): string {
    return textOf(this.finished.finalMessage);
  }
}

export function textOf(message: ChatResponse | undefined): string {
  return (message?.content ?? []).map(({ kind }) => (kind.case === "text" ? kind.value.text : "")).join("");
}

/** Reads a stream of events to its end. `onEvent` sees each as it comes. */
export async function watch(
  stream: AsyncIterable<{ event?: AgentEvent | undefined }>,
  onEvent: (event: AgentEvent, seen: SeenRun) => void = () => {},
): Promise<SeenRun> {
  const seen = new SeenRun();
  try {
    for await (const { event } of stream) {
      assert.ok(event);
      seen.events.push(event);
      onEvent(event, seen);
    }
  } catch (error) {
    seen.failure = toldBy(error);
  }
  return seen;
}

/** Runs an agent to the end of its stream. */
export function run(
  service: Service,
  request: RunInput,
  options: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<SeenRun> {
  return watch(service.client(AgentService).runAgent(request as never, options));
}

/** Asserts that events are numbered without gaps from `first` on. */
export function assertGapless(events: readonly AgentEvent[], first = 1): void {
  assert.deepEqual(
    events.map(({ sequence }) => sequence),
    events.map((_, index) => first + index),
  );
}
