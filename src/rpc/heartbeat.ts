/**
 * Calls back whenever there was no sign of life for a while.
 *
 * @param periodMs how long a silence may last, in milliseconds: the call comes after half of it at the least.
 */
export function createHeartbeat(periodMs: number, beat: () => void): { alive(): void } & Disposable {
  let alive = true;
  const timer = setInterval(() => {
    if (!alive) beat();
    alive = !alive;
  }, periodMs / 2);
  return {
    alive: () => {
      alive = true;
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
