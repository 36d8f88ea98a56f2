/**
 * The age at which a connection is let go, in milliseconds, give or take a tenth, as in grpc-go: connections that began
 * together, as after a restart, must not end together.
 */
export function jittered(ageMs: number): number {
  return ageMs * (0.9 + 0.2 * Math.random());
}
