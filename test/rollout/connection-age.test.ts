import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { grpcJsCaller, parleyCaller } from "./callers.ts";
import { startFleet } from "./fleet.ts";
import { IS_LONG, TRIED_APART, underLoad } from "./load.ts";

const DURATION_MS = IS_LONG ? 60_000 : 6_000;

const callers = { "grpc-js": grpcJsCaller, "Parley's own client": parleyCaller };

test("connections that are let go every two seconds fail no call of any client", {
  skip: TRIED_APART,
  timeout: 300_000,
}, async (t) => {
  await using fleet = await startFleet(3, { limits: { connectionAge: "2s" } });
  const over = setTimeout(DURATION_MS);
  await Promise.all(
    Object.entries(callers).map(async ([name, create]) => {
      using caller = create(fleet);
      const { calls, streams, failures } = await underLoad(caller, over);
      t.diagnostic(`${name}: ${calls} calls and ${streams} streams`);
      assert.deepEqual(failures, {}, name);
    }),
  );
});
