/**
 * All names of telemetry, in one place. Those of RPCs, of the process and of the runtime are OpenTelemetry's semantic
 * conventions 1.45, those that begin with `gen_ai.` its conventions for generative AI of October 2026. What these have no
 * name for begins with `parley.`.
 *
 * Prometheus gets them with `_` for each dot, and counters with `_total` at their end; units are not in the names.
 */

/** Attributes of spans and metrics. */
export const attribute = {
  /**
   * What a call, a request or a tool failed with: `ErrorInfo.reason`, a gRPC status, a code of MCP, the name of an error, or
   * `tool_error` when a tool says so of itself.
   */
  errorType: "error.type",
  clientAddress: "client.address",
  /** A host; of a gRPC tool its target, as the configuration has it. */
  serverAddress: "server.address",
  serverPort: "server.port",
  httpStatus: "http.response.status_code",
  /** How many requests were made before this one for the same turn. */
  resendCount: "http.request.resend_count",

  rpcSystem: "rpc.system.name",
  /** `parley.v1.ChatService/Chat`. */
  rpcMethod: "rpc.method",
  rpcStatus: "rpc.response.status_code",

  operation: "gen_ai.operation.name",
  provider: "gen_ai.provider.name",
  requestModel: "gen_ai.request.model",
  requestMaxTokens: "gen_ai.request.max_tokens",
  requestStream: "gen_ai.request.stream",
  requestEffort: "gen_ai.request.reasoning.level",
  responseModel: "gen_ai.response.model",
  responseId: "gen_ai.response.id",
  finishReasons: "gen_ai.response.finish_reasons",
  timeToFirstChunk: "gen_ai.response.time_to_first_chunk",
  /** All input tokens, those of the prompt cache included. */
  inputTokens: "gen_ai.usage.input_tokens",
  outputTokens: "gen_ai.usage.output_tokens",
  cacheReadTokens: "gen_ai.usage.cache_read.input_tokens",
  cacheWriteTokens: "gen_ai.usage.cache_write.input_tokens",
  thinkingTokens: "gen_ai.usage.reasoning.output_tokens",
  /** Only when content is captured. */
  inputMessages: "gen_ai.input.messages",
  outputMessages: "gen_ai.output.messages",
  systemInstructions: "gen_ai.system_instructions",
  toolArguments: "gen_ai.tool.call.arguments",
  toolResult: "gen_ai.tool.call.result",
  toolName: "gen_ai.tool.name",
  toolCallId: "gen_ai.tool.call.id",
  agentName: "gen_ai.agent.name",
  mcpMethod: "mcp.method.name",

  /** Claude's `request-id`. The conventions have no name for it. */
  claudeRequestId: "anthropic.request.id",
  /** `x-request-id` of a call. */
  callId: "parley.call.id",
  caller: "parley.caller",
  /** `grpc`, `grpc-web`, `connect`, `sse` or `unknown`. */
  protocol: "parley.protocol",
  /** `sent` or `received`. */
  direction: "parley.message.direction",
  runId: "parley.run.id",
  runState: "parley.run.state",
  turn: "parley.turn.number",
  turns: "parley.run.turns",
  toolCalls: "parley.run.tool_calls",
  exhaustedBudget: "parley.run.exhausted_budget",
  attempts: "parley.attempts",
  costMicrosUsd: "parley.cost.micros_usd",
  alert: "parley.alert",
  /** `requests`, `tokens`, `input_tokens` or `output_tokens`. */
  rateLimit: "parley.rate_limit",

  /** `user` or `system`. */
  cpuMode: "cpu.mode",
  /** `major`, `minor`, `incremental`, `weakcb`, or `other`. */
  gcType: "v8js.gc.type",
} as const;

/** Instruments. */
export const metric = {
  rpcDuration: "rpc.server.call.duration",
  rpcActive: "parley.rpc.active_calls",
  rpcMessages: "parley.rpc.messages",
  /** From the first byte of a call to the first part of its answer. */
  rpcFirstMessage: "parley.rpc.time_to_first_message",
  rpcErrors: "parley.rpc.errors",
  /** What Parley adds to a call that makes one turn: before the request to Claude, and after the end of its answer. */
  rpcOverhead: "parley.rpc.overhead",
  connections: "parley.connections",
  alerts: "parley.alerts",

  claudeDuration: "gen_ai.client.inference.duration",
  claudeFirstChunk: "gen_ai.client.inference.time_to_first_chunk",
  claudeChunkGap: "gen_ai.client.inference.time_per_output_chunk",
  claudeActive: "parley.claude.active_requests",
  claudeAnswers: "parley.claude.answers",
  claudeRetries: "parley.claude.retries",
  claudeFallbacks: "parley.claude.fallbacks",
  claudeRateLimit: "parley.claude.rate_limit.limit",
  claudeRateLimitRemaining: "parley.claude.rate_limit.remaining",
  /** All input tokens, those of the prompt cache included. */
  inputTokens: "gen_ai.client.inference.usage.input_tokens",
  outputTokens: "gen_ai.client.inference.usage.output_tokens",
  cacheReadTokens: "gen_ai.client.inference.usage.cache_read.input_tokens",
  cacheWriteTokens: "gen_ai.client.inference.usage.cache_write.input_tokens",
  thinkingTokens: "gen_ai.client.inference.usage.reasoning.output_tokens",
  cost: "parley.claude.cost",
  /** Answers of models that the price table does not have: their cost is in no other number. */
  unpriced: "parley.claude.unpriced_answers",

  runDuration: "gen_ai.invoke_agent.duration",
  runTurns: "gen_ai.invoke_agent.inference_calls",
  runToolCalls: "gen_ai.invoke_agent.tool_calls",
  /** Runs that have not ended. */
  runs: "parley.runs",
  runsFinished: "parley.runs.finished",
  toolDuration: "gen_ai.execute_tool.duration",
  toolActive: "parley.tool.active_calls",

  cpuTime: "process.cpu.time",
  residentMemory: "process.memory.usage",
  fileDescriptors: "process.open_file_descriptor.count",
  heapUsed: "v8js.memory.heap.used",
  heapLimit: "v8js.memory.heap.limit",
  gcDuration: "v8js.gc.duration",
  eventLoopUtilization: "nodejs.eventloop.utilization",
  eventLoopDelayMean: "nodejs.eventloop.delay.mean",
  eventLoopDelayP50: "nodejs.eventloop.delay.p50",
  eventLoopDelayP90: "nodejs.eventloop.delay.p90",
  eventLoopDelayP99: "nodejs.eventloop.delay.p99",
  eventLoopDelayMax: "nodejs.eventloop.delay.max",
} as const;

/** Events of spans. */
export const spanEvent = {
  firstMessage: "parley.first_message",
  lastMessage: "parley.last_message",
  firstChunk: "gen_ai.first_chunk",
  lastChunk: "gen_ai.last_chunk",
} as const;

/** Bounds of buckets, in seconds: from a cached unary call to an agent's ten minutes. */
export const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600];

/** Bounds of buckets, in seconds, for the pause between two parts of an answer. */
export const GAP_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Bounds of buckets, in seconds, for what Parley itself takes. */
export const OVERHEAD_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** Bounds of buckets, in seconds, for garbage collections. */
export const GC_BUCKETS = [0.001, 0.01, 0.1, 1, 10];

/** Bounds of buckets for turns and tool calls of a run. */
export const COUNT_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128];
