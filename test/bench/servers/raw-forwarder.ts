import { createServer, type ServerHttp2Stream } from "node:http2";
import { fromBinary } from "@bufbuild/protobuf";
import { Agent, type Dispatcher } from "undici";
import { ChatRequestSchema, StreamChatRequestSchema } from "../../../gen/parley/v1/chat_service_pb.js";
import { type ClaudeEvent, EventEncoder } from "./raw-encoding.ts";

// The practical limit of Node, to measure Parley against: node:http2 as it is, undici's lowest level, `JSON.parse`, and
// protobuf written by hand. It does what a forwarder cannot leave out, and stops when the caller cancels or does not read;
// there is no deadline, no retry, no validation, no error detail, no log, no metric, and only text is understood.
//
// PORT is where it listens, ANTHROPIC_BASE_URL where it forwards to.

const origin = process.env.ANTHROPIC_BASE_URL ?? "";
const agent = new Agent({ pipelining: 1 });

createServer({ settings: { maxConcurrentStreams: 10_000 } })
  .on("stream", (stream: ServerHttp2Stream, headers) => {
    const streams = headers[":path"] === "/parley.v1.ChatService/StreamChat";
    const chunks: Buffer[] = [];
    stream.on("error", () => {});
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => forward(stream, Buffer.concat(chunks).subarray(5), streams));
  })
  .listen(Number(process.env.PORT), "127.0.0.1");

function forward(stream: ServerHttp2Stream, message: Buffer, streams: boolean): void {
  const chat = streams ? fromBinary(StreamChatRequestSchema, message).chat : fromBinary(ChatRequestSchema, message);
  const body = JSON.stringify({
    model: chat?.model || "claude-sonnet-5-5",
    max_tokens: chat?.maxTokens ?? 4_096,
    stream: true,
    messages: chat?.messages.map(({ text }) => ({ role: "user", content: text })),
  });
  const request: Dispatcher.DispatchOptions = {
    origin,
    path: "/v1/messages",
    method: "POST",
    headers: ["content-type", "application/json", "authorization", "Bearer any", "anthropic-version", "2026-10-21"],
    body,
  };
  agent.dispatch(request, new Forwarding(stream, streams));
}

class Forwarding implements Dispatcher.DispatchHandler {
  readonly #stream: ServerHttp2Stream;
  readonly #streams: boolean;
  readonly #encoder: EventEncoder;
  readonly #utf8 = new TextDecoder();
  #controller: Dispatcher.DispatchController | undefined;
  #rest = "";
  #scheduled = false;

  constructor(stream: ServerHttp2Stream, streams: boolean) {
    this.#stream = stream;
    this.#streams = streams;
    this.#encoder = new EventEncoder();
    stream.on("close", () => this.#controller?.abort(new Error("the call is over")));
    stream.on("drain", () => this.#controller?.resume());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stream.destroyed) controller.abort(new Error("the call is over"));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, unknown>): void {
    if (status !== 200) throw new Error(`Claude has answered ${status}`);
    this.#encoder.requestId = String(headers["request-id"]);
    this.#stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    this.#stream.on("wantTrailers", () => this.#stream.sendTrailers({ "grpc-status": "0" }));
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#decode(chunk);
    if (this.#scheduled || !this.#streams) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      const bytes = this.#encoder.take();
      if (bytes.length > 0 && !this.#stream.destroyed && !this.#stream.write(bytes)) this.#controller?.pause();
    });
  }

  onResponseEnd(): void {
    this.#controller = undefined;
    this.#stream.end(this.#streams ? this.#encoder.take() : this.#encoder.response());
  }

  onResponseError(): void {
    this.#controller = undefined;
    this.#stream.close();
  }

  #decode(chunk: Buffer): void {
    const text = this.#rest + this.#utf8.decode(chunk, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n", start); end !== -1; end = text.indexOf("\n", start)) {
      if (text.startsWith("data: ", start)) {
        const event = JSON.parse(text.slice(start + 6, end)) as ClaudeEvent;
        this.#encoder.add(event, this.#streams);
      }
      start = end + 1;
    }
    this.#rest = text.slice(start);
  }
}
