import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { closing, longDelta, OPENING, STREAM_HEAD, token, toolTurn, unstreamed } from "./answer.ts";
import { now } from "./tokens.ts";

/** How the upstream answers. */
export type Plan =
  /** So many tokens, as fast as the connection takes them. */
  | { readonly kind: "burst"; readonly tokens: number }
  /** A token every so many milliseconds, until `finish`. */
  | { readonly kind: "paced"; readonly intervalMs: number }
  /** The beginning of an answer, and then nothing, until `finish`. */
  | { readonly kind: "silent" }
  /** So many turns with so many calls of a tool each, as the history tells, and then a token. */
  | { readonly kind: "turns"; readonly turns: number; readonly calls: number }
  /** Text without end, as fast as the connection takes it. */
  | { readonly kind: "endless" };

/** How many tokens of a burst are written at a time, round robin over all answers: about what fits into a packet. */
const BURST_TOKENS = 8;

const DELTA = longDelta(4_095);

/**
 * Stands in for Claude, at the least price: requests are hardly read, and answers are bytes that were made before. It is
 * HTTP/1.1 over plain TCP, with one request at a time on each connection.
 */
export class Upstream implements AsyncDisposable {
  plan: Plan = { kind: "silent" };
  /** Is told of each request, with its whole body, before it is answered. */
  onRequest: (body: Buffer, socket: Socket) => void = () => {};
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Answers that go on, by the millisecond of the interval in which their tokens are due. */
  #slots: Set<Socket>[] = [];
  #nextSlot = 0;
  readonly #open = new Set<Socket>();
  #bursts: { readonly socket: Socket; left: number; readonly tokens: number }[] = [];
  #ticks: NodeJS.Timeout | undefined;
  #sent = 0;

  static async listen(): Promise<Upstream> {
    const server = createServer({ noDelay: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Upstream(server);
  }

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => this.#serve(socket));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Answers that have begun and not ended. */
  get open(): number {
    return this.#open.size;
  }

  /** Paced tokens that have been sent. */
  get sent(): number {
    return this.#sent;
  }

  /** Brings all answers to their end. */
  finish(): void {
    for (const socket of this.#open) this.#end(socket, 1);
  }

  /** Closes the connections, which are kept for further requests otherwise. */
  hangUp(): void {
    for (const socket of this.#sockets) socket.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ticks);
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const closed = () => {
      this.#sockets.delete(socket);
      this.#forget(socket);
    };
    socket.on("close", closed);
    socket.on("error", () => socket.destroy());
    let waiting: Buffer | undefined;
    socket.on("data", (chunk: Buffer) => {
      waiting = waiting === undefined ? chunk : Buffer.concat([waiting, chunk]);
      const headEnd = waiting.indexOf("\r\n\r\n");
      if (headEnd === -1) return;
      const length = Number(/^content-length: *(\d+)/im.exec(waiting.toString("latin1", 0, headEnd))?.[1]);
      if (!(waiting.length >= headEnd + 4 + length)) return;
      const body = waiting.subarray(headEnd + 4);
      waiting = undefined;
      this.onRequest(body, socket);
      this.#answer(body, socket);
    });
  }

  #answer(body: Buffer, socket: Socket): void {
    const { plan } = this;
    if (!body.includes('"stream":true')) {
      socket.write(unstreamed(plan.kind === "burst" ? plan.tokens : 1));
      return;
    }
    if (plan.kind === "turns") {
      const isLast = body.toString("latin1").split('"role":"assistant"').length > plan.turns;
      socket.write(isLast ? Buffer.concat([STREAM_HEAD, OPENING, token(now()), closing(1)]) : toolTurn(plan.calls));
      return;
    }
    if (plan.kind === "burst" && plan.tokens <= BURST_TOKENS) {
      const tokens = Array.from({ length: plan.tokens }, () => token(now()));
      socket.write(Buffer.concat([STREAM_HEAD, OPENING, ...tokens, closing(plan.tokens)]));
      return;
    }
    this.#open.add(socket);
    socket.write(Buffer.concat([STREAM_HEAD, OPENING]));
    if (plan.kind === "burst") this.#burst(socket, plan.tokens);
    if (plan.kind === "endless") this.#flood(socket);
    if (plan.kind === "paced") this.#pace(socket, plan.intervalMs);
  }

  #end(socket: Socket, tokens: number): void {
    this.#forget(socket);
    socket.write(closing(tokens));
  }

  #forget(socket: Socket): void {
    this.#open.delete(socket);
    for (const slot of this.#slots) slot.delete(socket);
  }

  #burst(socket: Socket, tokens: number): void {
    this.#bursts.push({ socket, left: tokens, tokens });
    if (this.#bursts.length === 1) setImmediate(() => this.#writeBursts());
  }

  #writeBursts(): void {
    const part = Buffer.concat(Array.from({ length: BURST_TOKENS }, () => token(now())));
    const size = part.length / BURST_TOKENS;
    this.#bursts = this.#bursts.filter((burst) => {
      if (burst.socket.destroyed) return false;
      if (burst.socket.writableNeedDrain) return true;
      const count = Math.min(burst.left, BURST_TOKENS);
      burst.left -= count;
      burst.socket.write(count === BURST_TOKENS ? part : part.subarray(0, count * size));
      if (burst.left === 0) this.#end(burst.socket, burst.tokens);
      return burst.left > 0;
    });
    if (this.#bursts.length > 0) setImmediate(() => this.#writeBursts());
  }

  #flood(socket: Socket): void {
    const write = () => {
      while (!socket.destroyed && socket.write(DELTA));
    };
    socket.on("drain", write);
    write();
  }

  #pace(socket: Socket, intervalMs: number): void {
    if (this.#slots.length !== intervalMs) this.#slots = Array.from({ length: intervalMs }, () => new Set());
    this.#slots[this.#nextSlot++ % intervalMs]?.add(socket);
    this.#ticks ??= this.#tick();
  }

  /** Every millisecond, sends the tokens that have become due. */
  #tick(): NodeJS.Timeout {
    let due = Math.floor(performance.now());
    return setInterval(() => {
      for (const end = Math.floor(performance.now()); due < end; due++) {
        const slot = this.#slots[due % this.#slots.length];
        if (slot === undefined || slot.size === 0) continue;
        const bytes = token(now());
        this.#sent += slot.size;
        for (const socket of slot) socket.write(bytes);
      }
    }, 1);
  }
}
