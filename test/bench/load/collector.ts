import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** The protocols of OTLP, as `OTEL_EXPORTER_OTLP_PROTOCOL` has them. */
export type OtlpProtocol = "http/protobuf" | "grpc";

/** Stands in for an OpenTelemetry collector, at the least price: takes all that is sent, and counts spans. */
export class Collector implements AsyncDisposable {
  /** Spans that have come. */
  spans = 0;
  readonly url: string;
  readonly #close: () => void;

  static async listen(protocol: OtlpProtocol): Promise<Collector> {
    const server = protocol === "grpc" ? createHttp2Server() : createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const collector = new Collector((server.address() as AddressInfo).port, () => server.close());
    if (protocol === "grpc") server.on("stream", (stream, headers) => collector.#stream(stream, headers));
    else server.on("request", (request, response) => collector.#request(request, response));
    return collector;
  }

  private constructor(port: number, close: () => void) {
    this.url = `http://127.0.0.1:${port}`;
    this.#close = close;
  }

  /** Those who send must be gone: their connections are not closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    void buffer(request).then((message) => {
      this.#take(request.url ?? "", message);
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  }

  #stream(stream: ServerHttp2Stream, { ":path": path = "" }: IncomingHttpHeaders): void {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    void buffer(stream).then((message) => {
      this.#take(path, message.subarray(GRPC_HEAD.length));
      stream.end(GRPC_HEAD);
    });
  }

  #take(path: string, message: Uint8Array): void {
    if (!/TraceService|traces/.test(path)) return;
    // ExportTraceServiceRequest: resource spans (field 1) have scope spans (2), and these have spans (2).
    const scopes = messages(message, 1).flatMap((resource) => messages(resource, 2));
    this.spans += scopes.flatMap((scope) => messages(scope, 2)).length;
  }
}

/** Of a message that is not compressed. What is answered is empty. */
const GRPC_HEAD = Buffer.alloc(5);

/** The messages in a field of a message. */
function messages(message: Uint8Array, field: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === field && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type);
  }
  return found;
}
