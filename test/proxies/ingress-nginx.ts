/** What nginx is told to do with the calls of an Ingress: what the annotations of ingress-nginx become. */
export interface IngressSettings {
  /** In seconds. */
  readonly connectTimeout: number;
  readonly readTimeout: number;
  readonly sendTimeout: number;
  /** A size of nginx's, such as `32m`; 0 is no limit. */
  readonly bodySize: string;
}

const PREFIX = "nginx.ingress.kubernetes.io/";

/** Defaults of ingress-nginx. */
export const DEFAULTS: IngressSettings = { connectTimeout: 5, readTimeout: 60, sendTimeout: 60, bodySize: "1m" };

/**
 * What becomes a directive of `proxy_pass` alone. `grpc_pass` heeds none of these: it never buffers what it passes, in
 * neither direction. And what is about a port without TLS, which the front of the tests has not.
 */
const WITHOUT_EFFECT = new Set([
  "proxy-buffering",
  "proxy-request-buffering",
  "proxy-next-upstream",
  "proxy-next-upstream-timeout",
  "proxy-next-upstream-tries",
  "proxy-http-version",
  "ssl-redirect",
  "force-ssl-redirect",
]);

/**
 * Reads annotations as ingress-nginx does, since 1.11.0 (before that, the timeouts had no effect on gRPC).
 *
 * @throws {Error} for an annotation that this knows nothing of, and for a value that ingress-nginx would pass over.
 */
export function readAnnotations(annotations: Readonly<Record<string, string>>): IngressSettings {
  const settings = { ...DEFAULTS } as { -readonly [K in keyof IngressSettings]: IngressSettings[K] };
  if (annotations[`${PREFIX}backend-protocol`] !== "GRPC") throw new Error("the Ingress is not for gRPC");
  for (const [annotation, value] of Object.entries(annotations)) {
    if (!annotation.startsWith(PREFIX)) continue;
    const name = annotation.slice(PREFIX.length);
    if (name === "backend-protocol" || WITHOUT_EFFECT.has(name)) continue;
    if (name === "proxy-connect-timeout") settings.connectTimeout = seconds(annotation, value);
    else if (name === "proxy-read-timeout") settings.readTimeout = seconds(annotation, value);
    else if (name === "proxy-send-timeout") settings.sendTimeout = seconds(annotation, value);
    else if (name === "proxy-body-size") settings.bodySize = size(annotation, value);
    else throw new Error(`${annotation} is not known here`);
  }
  return settings;
}

/** A number alone: a unit makes ingress-nginx take its default. */
function seconds(annotation: string, value: string): number {
  if (!/^\d+$/.test(value)) throw new Error(`${annotation}: ${value} is not a number of seconds`);
  return Number(value);
}

function size(annotation: string, value: string): string {
  if (!/^\d+[kmg]?$/i.test(value)) throw new Error(`${annotation}: ${value} is not a size`);
  return value;
}
