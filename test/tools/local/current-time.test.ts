import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { createLocalTools } from "../../../src/tools/local/local-tools.ts";
import { type Tool, ToolError } from "../../../src/tools/tool.ts";
import { toolContext } from "../mcp/source.ts";

/** The tool, at that time. */
function clockAt(time: string | (() => number)): Tool {
  const now = typeof time === "string" ? () => Date.parse(time) : time;
  const [tool] = createLocalTools(["current_time"], { now }).tools;
  assert.ok(tool !== undefined);
  return tool;
}

async function tell(tool: Tool, input: object = {}): Promise<Record<string, unknown>> {
  const { content } = await tool.call(JSON.stringify(input), toolContext());
  return JSON.parse(String(content)) as Record<string, unknown>;
}

test("the time is told in UTC when no zone is asked for", async () => {
  assert.deepEqual(await tell(clockAt("2026-11-22T20:41:54.987Z")), {
    date_time: "2026-11-22T20:41:54+00:00",
    weekday: "Sunday",
    iso_week: "2026-W47",
    day_of_year: 326,
    time_zone: "UTC",
    utc_offset: "+00:00",
    unix_seconds: 1_795_380_114,
  });
});

const zones: readonly [zone: string, time: string, dateTime: string, weekday: string][] = [
  ["Europe/Berlin", "2026-07-01T22:30:00Z", "2026-07-02T00:30:00+02:00", "Thursday"],
  ["Europe/Berlin", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00+01:00", "Friday"],
  ["America/St_Johns", "2026-01-01T00:00:00Z", "2025-12-31T20:30:00-03:30", "Wednesday"],
  ["Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T05:45:00+05:45", "Thursday"],
  ["Pacific/Kiritimati", "2026-01-01T10:00:00Z", "2026-01-02T00:00:00+14:00", "Friday"],
  ["asia/tokyo", "2026-01-01T15:00:00Z", "2026-01-02T00:00:00+09:00", "Friday"],
];
for (const [zone, time, dateTime, weekday] of zones) {
  test(`at ${time} it is ${dateTime} in ${zone}`, async () => {
    const told = await tell(clockAt(time), { time_zone: zone });
    assert.deepEqual([told.date_time, told.weekday, told.time_zone], [dateTime, weekday, zone]);
    assert.equal(Date.parse(dateTime), Date.parse(time));
  });
}

const weeks: readonly [date: string, week: string, day: number][] = [
  ["2024-12-29", "2024-W52", 364],
  ["2024-12-30", "2025-W01", 365],
  ["2026-01-01", "2026-W01", 1],
  ["2026-12-31", "2026-W53", 365],
  ["2027-01-03", "2026-W53", 3],
  ["2027-01-04", "2027-W01", 4],
  ["2028-12-31", "2028-W52", 366],
];
for (const [date, week, day] of weeks) {
  test(`${date} is day ${day}, in week ${week}`, async () => {
    const told = await tell(clockAt(`${date}T12:00:00Z`));
    assert.deepEqual([told.iso_week, told.day_of_year], [week, day]);
  });
}

test("each call looks at the clock, which is that of the machine by default", async () => {
  let time = 0;
  const tool = clockAt(() => (time += 1_000));
  assert.equal((await tell(tool)).unix_seconds, 1);
  assert.equal((await tell(tool)).unix_seconds, 2);

  const [real] = createLocalTools(["current_time"]).tools;
  assert.ok(real !== undefined);
  const before = Math.floor(Date.now() / 1_000);
  const told = Number((await tell(real)).unix_seconds);
  assert.ok(before <= told && told <= Date.now() / 1_000);
});

for (const zone of ["", "Berlin", "Europe/Nowhere", "GMT+1 or so"]) {
  test(`there is no time in ${JSON.stringify(zone)}`, async () => {
    await assert.rejects(tell(clockAt("2026-01-01T00:00:00Z"), { time_zone: zone }), (error) => {
      assert.ok(error instanceof ToolError);
      assert.equal(error.code, Code.InvalidArgument);
      assert.equal(
        error.message,
        `time_zone: ${JSON.stringify(zone)} is no time zone of the IANA database, such as Europe/Berlin`,
      );
      return true;
    });
  });
}

test("only the tools that are named are there, each once", async () => {
  await using none = createLocalTools([]);
  assert.deepEqual(none.tools, []);
  await using twice = createLocalTools(["current_time", "current_time"]);
  assert.deepEqual(
    twice.tools.map(({ name }) => name),
    ["current_time"],
  );
});
