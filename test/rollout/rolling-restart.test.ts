import assert from "node:assert/strict";
import { test } from "node:test";
import { grpcJsCaller, parleyCaller } from "./callers.ts";
import { startFleet } from "./fleet.ts";
import { IS_LONG, TRIED_APART, underLoad } from "./load.ts";

/** Restarts of all replicas, one after the other. */
const RESTARTS = IS_LONG ? 5 : 1;

const callers = { "grpc-js": grpcJsCaller, "Parley's own client": parleyCaller };

test("rolling restarts of three replicas fail no call of any client", {
  skip: TRIED_APART,
  timeout: 600_000,
}, async (t) => {
  await using fleet = await startFleet(3, { server: { lameDuck: "300ms", drain: "60s" } });
  const restarts = (async () => {
    const codes: (number | string)[] = [];
    for (let restart = 0; restart < RESTARTS; restart++) codes.push(...(await fleet.restartAll()));
    return codes;
  })();
  await Promise.all(
    Object.entries(callers).map(async ([name, create]) => {
      using caller = create(fleet);
      const { calls, streams, failures } = await underLoad(caller, restarts);
      t.diagnostic(`${name}: ${calls} calls and ${streams} streams`);
      assert.deepEqual(failures, {}, name);
    }),
  );
  assert.deepEqual(await restarts, Array(RESTARTS * 3).fill(0));
});
