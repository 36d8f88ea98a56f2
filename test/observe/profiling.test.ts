import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { describe, test } from "node:test";
import { type Service, startService } from "../support/service.ts";

interface Profile {
  readonly nodes: { readonly callFrame: { readonly functionName: string } }[];
  readonly samples: unknown[];
  readonly startTime: number;
  readonly endTime: number;
}

const on = { config: { admin: { profiling: true } } };

function get({ adminUrl }: Service, path: string, signal?: AbortSignal): Promise<Response> {
  return fetch(`${adminUrl}/debug/${path}`, signal === undefined ? {} : { signal });
}

/** Resolves when a request has arrived at the admin port, and is being served. */
function arrival(): Promise<void> {
  const channel = "http.server.request.start";
  const { promise, resolve } = Promise.withResolvers<void>();
  const onRequest = () => {
    unsubscribe(channel, onRequest);
    resolve();
  };
  subscribe(channel, onRequest);
  return promise;
}

/** Asks until nobody else is being served. */
async function getInTurn(service: Service, path: string): Promise<Response> {
  for (;;) {
    const response = await get(service, path);
    if (response.status !== 409) return response;
    await response.text();
  }
}

describe("profiles and snapshots", { timeout: 60_000 }, () => {
  test("are off by default, and say how to turn them on", async () => {
    await using service = await startService();
    for (const path of ["cpu-profile?seconds=1", "heap-snapshot"]) {
      const response = await get(service, path);
      assert.equal(response.status, 403);
      assert.match(await response.text(), /admin\.profiling .*PARLEY_CONFIG/);
    }
  });

  test("a CPU profile has what the process did in that time", async () => {
    await using service = await startService(on);
    const pending = get(service, "cpu-profile?seconds=1");
    let answered = false;
    void pending.then(() => {
      answered = true;
    });
    while (!answered) await busyLoopOfTheTest();
    const response = await pending;
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.match(response.headers.get("content-disposition") ?? "", /^attachment; filename="parley-.*\.cpuprofile"$/);
    const { nodes, samples, startTime, endTime } = (await response.json()) as Profile;
    assert.ok(nodes.some(({ callFrame }) => callFrame.functionName === "busyLoopOfTheTest"));
    assert.ok(samples.length > 100);
    assert.ok(endTime - startTime >= 1e6 && endTime - startTime < 10e6);
  });

  test("a CPU profile takes a number of seconds within bounds", async () => {
    await using service = await startService(on);
    for (const seconds of ["0", "61", "1.5", "-1", "x", ""]) {
      const response = await get(service, `cpu-profile?seconds=${seconds}`);
      assert.equal(response.status, 400, seconds);
      assert.match(await response.text(), /seconds must be a whole number from 1 to 60/);
    }
  });

  test("a heap snapshot has the objects of the process", async () => {
    await using service = await startService(on);
    const response = await get(service, "heap-snapshot");
    assert.match(response.headers.get("content-disposition") ?? "", /filename="parley-.*\.heapsnapshot"$/);
    const { snapshot } = (await response.json()) as { snapshot: { node_count: number } };
    assert.ok(snapshot.node_count > 10_000);
  });

  test("are made one at a time", async () => {
    await using service = await startService(on);
    const paths = ["cpu-profile?seconds=1", "cpu-profile?seconds=1", "cpu-profile?seconds=1"];
    const responses = await Promise.all(paths.map((path) => get(service, path)));
    assert.deepEqual(responses.map(({ status }) => status).sort(), [200, 409, 409]);
    await Promise.all(responses.map((response) => response.text()));
    assert.equal((await getInTurn(service, "cpu-profile?seconds=1")).status, 200);
  });

  test("end when the caller hangs up, and others can be made then", async () => {
    await using service = await startService(on);
    const controller = new AbortController();
    const arrived = arrival();
    const hungUp = assert.rejects(get(service, "cpu-profile?seconds=60", controller.signal), { name: "AbortError" });
    await arrived;
    assert.equal((await get(service, "heap-snapshot")).status, 409);
    controller.abort();
    await hungUp;

    const snapshot = await getInTurn(service, "heap-snapshot");
    assert.equal(snapshot.status, 200);
    await snapshot.body?.cancel();
    assert.equal((await getInTurn(service, "cpu-profile?seconds=1")).status, 200);
  });

  test("do not hold up a shutdown, nor does HEAD begin them", async () => {
    const service = await startService(on);
    const head = await fetch(`${service.adminUrl}/debug/cpu-profile?seconds=60`, { method: "HEAD" });
    assert.equal(head.status, 405);
    const arrived = arrival();
    const cut = assert.rejects(get(service, "cpu-profile?seconds=60"));
    await arrived;
    const before = performance.now();
    await service[Symbol.asyncDispose]();
    assert.ok(performance.now() - before < 10_000);
    await cut;
  });
});

/** What the profile is to find. */
async function busyLoopOfTheTest(): Promise<void> {
  const end = performance.now() + 20;
  while (performance.now() < end);
  await new Promise((resolve) => setImmediate(resolve));
}
