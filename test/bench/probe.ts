import { getHeapStatistics, promiseHooks } from "node:v8";

// Loaded into every server before its own code (`node --import`): tells over IPC what the process has used. It says the
// same of all, and costs nothing between the questions.

/** What a process has used. */
export interface Usage {
  /** CPU time of all threads, user and system, in microseconds. */
  readonly cpu: number;
  /** Bytes that were allocated on the heap, whether they have been freed or not. */
  readonly allocated: number;
  /** Promises that were made. Counted only with COUNT_PROMISES in the environment, which slows the process down. */
  readonly promises: number;
  /** The heap, and what it holds outside of it, after a garbage collection, in bytes. Asked for only. */
  readonly memory: number;
}

let promises = 0;
if (process.env.COUNT_PROMISES !== undefined) {
  promiseHooks.onInit(() => {
    promises++;
  });
}

process.on("message", (question: { readonly collect: boolean }) => {
  const memory = question.collect ? memoryInUse() : 0;
  const { user, system } = process.cpuUsage();
  const { total_allocated_bytes: allocated } = getHeapStatistics() as { total_allocated_bytes?: number };
  const usage: Usage = { cpu: user + system, allocated: allocated ?? Number.NaN, promises, memory };
  process.send?.(usage);
});
// Whatever becomes of the benchmark, no server outlives it.
process.on("disconnect", () => process.exit());
process.channel?.unref();

function memoryInUse(): number {
  for (let round = 0; round < 3; round++) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
