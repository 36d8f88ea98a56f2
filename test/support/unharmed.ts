import assert from "node:assert/strict";
import type { Service } from "./service.ts";
import { allWays, bodyOf, goodMessage, outcomeOf, pathOf } from "./ways.ts";
import { openHttp2, type Reply, sendHttp2 } from "./wire.ts";

/** What only the inside of the service knows: names of errors, of files, of lines. */
const INNER_TEXT = /TypeError|RangeError|undefined|Cannot read|is not a function|\n\s+at |\/src\/|node:|node_modules/;

/** A reply tells nothing of the inside of the service. */
export function assertNoInnerText(reply: Pick<Reply, "headers" | "body">, about = ""): void {
  const text = `${Object.values(reply.headers).map(decodePercent).join("\n")}\n${reply.body.toString("latin1")}`;
  assert.doesNotMatch(text, INNER_TEXT, about);
}

/** `grpc-message` is percent-encoded. */
function decodePercent(value: string): string {
  return value.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Codes that tell of a fault in the service, or behind it. */
const FAULTS = new Set(["INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"]);

/** After all that was sent to it, the service answers by every protocol, no call is open, and no fault was logged. */
export async function assertUnharmed(service: Service): Promise<void> {
  const session = openHttp2(service.url);
  for (const [name, way] of allWays) {
    const headers = { ":method": "POST", ":path": pathOf(way), ...way.headers };
    const reply = await sendHttp2(session, headers, bodyOf(way, goodMessage(way)));
    assert.equal(reply.status, 200, name);
    assert.equal(outcomeOf(reply), undefined, name);
  }
  session.close();
  await assertNothingLeft(service);
}

/** No call is open, and no fault was logged. */
export async function assertNothingLeft(service: Service): Promise<void> {
  while ((await activeCalls(service)) > 0);
  assert.equal(service.simulator.activeRequests, 0);
  const faults = service.logs.filter(
    ({ level, code }) => level === "error" || level === "fatal" || FAULTS.has(String(code)),
  );
  assert.deepEqual(faults, []);
}

/** Calls in progress, by the metrics. */
export async function activeCalls({ adminUrl }: Service): Promise<number> {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  const counts = [...text.matchAll(/^parley_rpc_active_calls\{.*\} (-?\d+)$/gm)].map(([, count]) => Number(count));
  assert.ok(counts.length > 0, text);
  return counts.reduce((sum, count) => sum + count, 0);
}
