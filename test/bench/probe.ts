// Loaded into every server before its own code (`node --import`): tells over IPC what the process has used. It says the
// same of all, and costs nothing between the questions.

/** What a process has used. */
export interface Usage {
  /** CPU time of all threads, user and system, in microseconds. */
  readonly cpu: number;
  /** The heap, and what it holds outside of it, after a garbage collection, in bytes. Asked for only. */
  readonly memory: number;
}

process.on("message", (question: { readonly collect: boolean }) => {
  const collected = question.collect ? collect() : 0;
  const { user, system } = process.cpuUsage();
  const usage: Usage = { cpu: user + system, memory: collected };
  process.send?.(usage);
});
// Whatever becomes of the benchmark, no server outlives it.
process.on("disconnect", () => process.exit());
process.channel?.unref();

function collect(): number {
  for (let round = 0; round < 3; round++) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
