import { once } from "node:events";
import { createServer } from "node:net";

/** Below all that systems take by themselves for connections and for listeners at any port. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/**
 * A port of the loopback that nobody listens at, for programs that cannot be told to take any, and for those that come back
 * to it: no connection of others takes it meanwhile.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") continue;
      throw error;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}
