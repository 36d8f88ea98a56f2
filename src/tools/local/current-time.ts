import { Code } from "@connectrpc/connect";
import { z } from "zod";
import { type Tool, ToolError } from "../tool.ts";
import { defineTool } from "./define-tool.ts";

const DAY_MS = 86_400_000;

/**
 * Tells the date and the time, which Claude cannot know.
 *
 * @param now milliseconds since 1970, as `Date.now()` has them.
 */
export function currentTime(now: () => number = Date.now): Tool {
  return defineTool({
    name: "current_time",
    description:
      "Returns the current date and time, the weekday, the ISO week, and the UTC offset in a time zone. " +
      "Use it whenever an answer depends on what day or time it is now.",
    input: z.strictObject({
      time_zone: z
        .string()
        .optional()
        .describe('Name of a time zone in the IANA database, such as "Europe/Berlin". UTC when left out.')
        .meta({ examples: ["Europe/Berlin"] }),
    }),
    sideEffect: "none",
    timeoutMs: 1_000,
    run: ({ time_zone: timeZone = "UTC" }) => JSON.stringify(describe(now(), timeZone)),
  });
}

function describe(now: number, timeZone: string) {
  const format = dateFormat(timeZone);
  const parts = Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]));
  const { year = "", month, day, hour, minute, second, timeZoneName = "" } = parts;
  // "GMT+02:00", and "GMT" alone where there is no offset.
  const offset = timeZoneName.slice("GMT".length) || "+00:00";
  const date = `${year.padStart(4, "0")}-${month}-${day}`;
  return {
    date_time: `${date}T${hour}:${minute}:${second}${offset}`,
    weekday: parts.weekday,
    iso_week: isoWeek(date),
    day_of_year: (Date.parse(date) - Date.parse(`${date.slice(0, 4)}-01-01`)) / DAY_MS + 1,
    time_zone: timeZone,
    utc_offset: offset,
    unix_seconds: Math.floor(now / 1_000),
  };
}

function dateFormat(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat("en-GB", {
      timeZone,
      calendar: "iso8601",
      numberingSystem: "latn",
      weekday: "long",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
      timeZoneName: "longOffset",
    });
  } catch (cause) {
    const message = `time_zone: ${JSON.stringify(timeZone)} is no time zone of the IANA database, such as Europe/Berlin`;
    throw new ToolError(Code.InvalidArgument, message, { cause });
  }
}

/** The week of a date by ISO 8601, such as `2026-W53`: that of the Thursday between the same Monday and Sunday. */
function isoWeek(date: string): string {
  const day = Date.parse(date);
  const weekday = (new Date(day).getUTCDay() + 6) % 7;
  const thursday = new Date(day + (3 - weekday) * DAY_MS);
  const year = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MS / 7) + 1;
  return `${year}-W${String(week).padStart(2, "0")}`;
}
