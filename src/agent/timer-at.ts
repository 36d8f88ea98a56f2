/**
 * Calls back at a time by `performance.now()`, and never before it. Timers count whole milliseconds of a clock that is cut
 * to them, so that they alone can be up to two early: whoever is called would find that there is time left.
 */
export function timerAt(time: number, callback: () => void): NodeJS.Timeout {
  return setTimeout(callback, Math.max(0, Math.ceil(time - performance.now()) + 1));
}
