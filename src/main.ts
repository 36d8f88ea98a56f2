// Signals that the first process of a container has no handler for are lost, and to load the service takes a moment. The
// handlers stay: one that is taken away may take a signal along that has come and was not yet delivered.
const signals = { handle: (_signal: NodeJS.Signals): void => process.exit() };
process.on("SIGTERM", (signal) => signals.handle(signal));
process.on("SIGINT", (signal) => signals.handle(signal));

const { run } = await import("./run.ts");
await run(signals);
