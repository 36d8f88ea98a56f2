import type { IncomingHttpHeaders } from "node:http";

/** How many requests are kept, and how much text of their bodies, in UTF-16 code units. */
const KEPT = { requests: 10_000, text: 128 * 1024 * 1024 };

/** How a response ended. */
export interface RequestEnd {
  /** `fault` when the simulator broke the answer off itself, by a script's fault or because it was closed. */
  readonly how: "completed" | "client-closed" | "fault";
  /** `performance.now()` */
  readonly at: number;
  /** Events of the stream that were sent, pings for liveness aside; a body that is no stream is one event. */
  readonly eventsSent: number;
}

/** A request that arrived whole. */
export interface RecordedRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly bodyText: string;
  /** The body as JSON, or `undefined` when it is none. */
  readonly body: unknown;
  /** `performance.now()` when the headers had arrived. */
  readonly receivedAt: number;
  /** Resolves when the response has ended: completed, or closed by the client or by a fault. */
  readonly ended: Promise<RequestEnd>;
}

/** The requests of a simulator, oldest first. */
export interface RequestLog {
  readonly requests: readonly RecordedRequest[];
  add(request: RecordedRequest): void;
  /** The oldest request that nobody has taken yet, as soon as there is one. */
  next(): Promise<RecordedRequest>;
  /** Rejects everyone who waits for a request, now or later. */
  close(): void;
}

/** A queue that forgets its oldest requests when there are too many, or too large ones. */
function createQueue() {
  const items: RecordedRequest[] = [];
  let text = 0;
  function shift(): RecordedRequest | undefined {
    const request = items.shift();
    text -= request?.bodyText.length ?? 0;
    return request;
  }
  return {
    items,
    shift,
    push(request: RecordedRequest) {
      items.push(request);
      text += request.bodyText.length;
      while (items.length > KEPT.requests || (text > KEPT.text && items.length > 1)) shift();
    },
  };
}

/** Whoever waits hears of the closing; when nobody does any more, it is no failure. */
const ignoreIfUnheard = () => {};

const closedError = () => new Error("The simulator was closed.");

/** An empty log. */
export function createRequestLog(): RequestLog {
  const requests = createQueue();
  const untaken = createQueue();
  const waiting: PromiseWithResolvers<RecordedRequest>[] = [];
  let closed = false;
  return {
    requests: requests.items,
    add(request) {
      requests.push(request);
      const waiter = waiting.shift();
      if (waiter) waiter.resolve(request);
      else untaken.push(request);
    },
    next() {
      const request = untaken.shift();
      if (request) return Promise.resolve(request);
      if (closed) return Promise.reject(closedError());
      const waiter = Promise.withResolvers<RecordedRequest>();
      waiter.promise.catch(ignoreIfUnheard);
      waiting.push(waiter);
      return waiter.promise;
    },
    close() {
      closed = true;
      for (const waiter of waiting.splice(0)) waiter.reject(closedError());
    },
  };
}
