// Signals that the first process of a container has no handler for are lost, and to load the service takes a moment.
const leave = () => process.exit();
process.on("SIGTERM", leave).on("SIGINT", leave);

const { run } = await import("./run.ts");
await run();
