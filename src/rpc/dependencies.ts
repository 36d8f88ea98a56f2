import type { TurnDependencies } from "../agent/turn.ts";
import type { ChatDefaults } from "./convert/request.ts";

/** What the RPCs need. */
export interface RpcDependencies extends TurnDependencies {
  readonly defaults: ChatDefaults;
  /** After how much silence a stream sends a heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
}
