import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";

/** How a body is cut into writes. */
export interface BodyShape {
  /** Bytes in a write. */
  readonly splitBytes?: number | undefined;
  /** Offsets in the whole body at which a write ends. */
  readonly splitAt?: readonly number[] | undefined;
  readonly lineEnding?: "lf" | "crlf" | "cr" | undefined;
}

/** Collects parts of a body and writes them as fast as the client reads. */
export interface BodyWriter {
  add(data: string | Uint8Array): void;
  /** Whether so much is collected that it should be written. */
  readonly isFull: boolean;
  /** Writes what is collected; resolves when more can be written. */
  flush(): Promise<void>;
  /** Writes what is collected; resolves when the operating system has it. */
  settle(): Promise<void>;
}

const FULL = 16_384;

const LINE_ENDINGS = { lf: "\n", crlf: "\r\n", cr: "\r" } as const;

/** A writer for the body of a response whose headers are sent. Aborting the signal rejects what it waits for. */
export function createBodyWriter(response: ServerResponse, shape: BodyShape, signal: AbortSignal): BodyWriter {
  const isSplit = shape.splitBytes !== undefined || shape.splitAt !== undefined;
  const lineEnding = LINE_ENDINGS[shape.lineEnding ?? "lf"];
  let collected: (string | Uint8Array)[] = [];
  let size = 0;
  let offset = 0;
  let lastWrite: Promise<void> = Promise.resolve();
  let lastFlush: Promise<void> = Promise.resolve();

  async function write(bytes: Uint8Array | string): Promise<void> {
    signal.throwIfAborted();
    const done = Promise.withResolvers<void>();
    lastWrite = done.promise;
    if (!response.write(bytes, () => done.resolve())) await drained(response, signal);
  }

  async function writeSplit(bytes: Buffer): Promise<void> {
    let start = 0;
    while (start < bytes.length) {
      const end = Math.min(nextCut(offset, shape) - offset + start, bytes.length);
      await write(bytes.subarray(start, end));
      await setImmediate();
      offset += end - start;
      start = end;
    }
  }

  /** One flush after the other, since a ping can come while a body is written in pieces. */
  function flush(): Promise<void> {
    lastFlush = lastFlush.then(writeCollected);
    return lastFlush;
  }

  async function writeCollected(): Promise<void> {
    const pending = collected;
    collected = [];
    size = 0;
    if (isSplit) return writeSplit(Buffer.concat(pending.map((data) => Buffer.from(data))));
    if (pending.every((data) => typeof data === "string")) {
      if (pending.length > 0) await write(pending.join(""));
      return;
    }
    for (const data of pending) await write(data);
  }

  return {
    add(data) {
      const shaped = typeof data === "string" && lineEnding !== "\n" ? data.replaceAll("\n", lineEnding) : data;
      collected.push(shaped);
      size += shaped.length;
    },
    get isFull() {
      return size >= FULL;
    },
    flush,
    async settle() {
      await flush();
      await lastWrite;
    },
  };
}

/** The offset in the body at which the write that starts at `offset` ends. */
function nextCut(offset: number, { splitBytes, splitAt = [] }: BodyShape): number {
  const bySize = splitBytes === undefined ? Number.POSITIVE_INFINITY : offset + splitBytes;
  const byPlace = splitAt.find((place) => place > offset) ?? Number.POSITIVE_INFINITY;
  return Math.min(bySize, byPlace);
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    const onAbort = () => {
      response.off("drain", onDrain);
      reject(signal.reason);
    };
    response.once("drain", onDrain);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
