// The first process of a container ignores signals that it has no handler for, and to load the service takes a moment.
const leave = () => process.exit();
process.on("SIGTERM", leave).on("SIGINT", leave);

const { run } = await import("./run.ts");
await run();
