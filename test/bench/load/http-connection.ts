import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** The end of a chunked body (RFC 9112, 7.1). */
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/** Is told of what comes back for a request. */
export interface ResponseSink {
  data(bytes: Buffer): void;
  end(complete: boolean): void;
}

/** An HTTP/1.1 client at the least price, for one request at a time: bodies are chunked, or have a length. */
export class HttpConnection {
  readonly #socket: Socket;
  #sink: ResponseSink | undefined;
  #head = "";
  /** Bytes of the body that are still to come. Undefined: it is chunked, or the head has not come. */
  #left: number | undefined;

  static async open(port: number): Promise<HttpConnection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new HttpConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#end(false));
  }

  send(request: Buffer, sink: ResponseSink): void {
    this.#sink = sink;
    this.#head = "";
    this.#left = undefined;
    this.#socket.write(request);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let body = chunk;
    if (!this.#head.endsWith("\r\n\r\n")) {
      const end = chunk.indexOf("\r\n\r\n");
      this.#head += chunk.toString("latin1", 0, end === -1 ? chunk.length : end + 4);
      if (end === -1) return;
      const length = /^content-length: *(\d+)/im.exec(this.#head)?.[1];
      this.#left = length === undefined ? undefined : Number(length);
      body = chunk.subarray(end + 4);
    }
    this.#sink?.data(body);
    if (this.#left !== undefined) this.#left -= body.length;
    const complete = this.#left === undefined ? body.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) : this.#left <= 0;
    if (complete) this.#end(this.#head.startsWith("HTTP/1.1 200"));
  }

  #end(complete: boolean): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.end(complete);
  }
}
