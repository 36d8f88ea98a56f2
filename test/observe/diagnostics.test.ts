import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createDiagnostics } from "../../src/observe/diagnostics.ts";
import { createLogger } from "../../src/observe/logger.ts";

async function start() {
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (text: string) => void lines.push(JSON.parse(text)) };
  const clock = { now: 0 };
  const logger = await createLogger({ level: "info", pretty: false, stream });
  return { diagnostics: createDiagnostics(logger, () => clock.now), lines, clock };
}

describe("what OpenTelemetry says of itself", () => {
  test("is told once a minute, whatever numbers it has, with how much was held back", async () => {
    const { diagnostics, lines, clock } = await start();
    for (let count = 1; count <= 50; count++) diagnostics.warn(`Dropped ${count} spans`);
    clock.now = 60_000;
    diagnostics.error("Dropped 51 spans");
    const told = lines.map(({ level, msg, held_back }) => ({ level, msg, held_back }));
    assert.deepEqual(told, [
      { level: "warn", msg: "Dropped 1 spans", held_back: undefined },
      { level: "warn", msg: "Dropped 51 spans", held_back: 49 },
    ]);
  });

  test("is bounded also when it is always something else", async () => {
    const { diagnostics, lines } = await start();
    for (const letter of "abcdefghijklmnopqrstuvwxyz") diagnostics.error(letter.repeat(10_000));
    assert.equal(lines.length, 20);
    assert.ok(lines.every(({ msg }) => String(msg).length === 300));
  });

  test("is not told where any container would have it told", async () => {
    const { diagnostics, lines } = await start();
    diagnostics.warn('dropping invalid resource attribute value for key "host.id"');
    assert.deepEqual(lines, []);
  });

  test("has nothing in it of what is exported", async () => {
    const { diagnostics, lines } = await start();
    diagnostics.error("items to be sent", { attributes: { prompt: "secret" } });
    diagnostics.error(
      JSON.stringify({ name: "OTLPExporterError", code: "400", message: "Bad Request", data: "secret" }),
    );
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ["items to be sent", "OTLPExporterError 400 Bad Request"],
    );
  });
});
