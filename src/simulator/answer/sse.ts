/** A server-sent event. Data of several lines becomes several `data:` lines. */
export function encodeEvent(event: string | undefined, data: string): string {
  const name = event === undefined ? "" : `event: ${event}\n`;
  const lines = data.includes("\n") ? data.split("\n").join("\ndata: ") : data;
  return `${name}data: ${lines}\n\n`;
}

/** What is sent while nothing else flows. */
export const PING = encodeEvent("ping", '{"type":"ping"}');
