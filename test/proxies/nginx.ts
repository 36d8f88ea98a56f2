import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort } from "../support/free-port.ts";
import { startCommand } from "../support/process.ts";
import { copyCertificate } from "../support/tls.ts";
import type { IngressSettings } from "./ingress-nginx.ts";

/** Why tests that need nginx must be skipped; false: it is there. With CI_TOOLS=1, which `.ci/run` sets, it has to be. */
export function missingNginx(): string | false {
  if (process.env.CI_TOOLS === "1" || spawnSync("nginx", ["-v"]).error === undefined) return false;
  return "nginx is not installed (Debian: apt-get install nginx)";
}

export interface NginxOptions {
  readonly settings: IngressSettings;
  /** Ports of the replicas. */
  readonly upstreams: readonly number[];
}

export interface Nginx extends AsyncDisposable {
  readonly port: number;
  /** With TLS, by the certificate `server` of the tests. */
  readonly url: string;
  /** Sends a replica no more calls, as ingress-nginx does when it is not ready any more. */
  lookAwayFrom(upstream: number): void;
  /** Sends it calls again. */
  lookBackAt(upstream: number): void;
}

/** Starts nginx as ingress-nginx would configure it, in a folder of its own, and waits until it listens. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  await using starting = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "parley-nginx-"));
  starting.defer(() => rmSync(folder, { recursive: true }));
  copyCertificate("server", join(folder, "tls.crt"), join(folder, "tls.key"));
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  writeFileSync(file, configuration(folder, port, options));
  const running = starting.use(startCommand("nginx", ["-p", folder, "-c", file, "-e", "stderr"], {}));
  const { stderr } = running.child;
  if (stderr === null) throw new Error("nginx has no standard error");
  const listening = Promise.withResolvers<void>();
  // It says so when it already listens, just before it begins to accept.
  createInterface({ input: stderr }).on("line", (line) => {
    if (line.includes("event method")) listening.resolve();
  });
  running.exit.then(() => listening.reject(new Error(`nginx has ended: ${running.errors()}`)));
  await listening.promise;
  const owned = starting.move();
  return {
    port,
    url: `https://localhost:${port}`,
    lookAwayFrom: (upstream) => writeFileSync(join(folder, `${upstream}.away`), ""),
    lookBackAt: (upstream) => rmSync(join(folder, `${upstream}.away`)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/**
 * What the template of ingress-nginx (1.15, its last) writes, as far as it bears on gRPC, with the defaults of its
 * ConfigMap. What differs is how the replicas are found: there, a script in Lua takes those that are ready from the
 * endpoints of the Service; here, a file in the folder takes a replica away. Like ingress-nginx, this sets no
 * `grpc_next_upstream`, which leaves nginx at `error timeout`; and a replica that fails stays.
 */
function configuration(folder: string, port: number, { settings, upstreams }: NginxOptions) {
  const { connectTimeout, readTimeout, sendTimeout, bodySize } = settings;
  return `
daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr notice;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off;
  tcp_nopush on;
  tcp_nodelay on;
  reset_timedout_connection on;
  keepalive_timeout 75s;
  keepalive_requests 1000;
  client_body_buffer_size 8k;
  client_body_timeout 60s;
  client_header_timeout 60s;
  http2_max_concurrent_streams 128;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  map $http_x_request_id $req_id { default $http_x_request_id; '' $request_id; }
  ${upstreamOf("all", upstreams)}
  ${upstreams.map((away) => upstreamOf(`without_${away}`, upstreams.toSpliced(upstreams.indexOf(away), 1))).join("\n  ")}
  server {
    listen 127.0.0.1:${port} ssl http2;
    server_name localhost;
    ssl_certificate ${folder}/tls.crt;
    ssl_certificate_key ${folder}/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    set $replicas all;
    ${upstreams.map((port) => `if (-f ${folder}/${port}.away) { set $replicas without_${port}; }`).join("\n    ")}
    location / {
      client_max_body_size ${bodySize};
      grpc_set_header Host $http_host;
      grpc_set_header X-Request-ID $req_id;
      grpc_set_header X-Real-IP $remote_addr;
      grpc_set_header X-Forwarded-For $remote_addr;
      grpc_set_header X-Forwarded-Host $http_host;
      grpc_set_header X-Forwarded-Proto $scheme;
      grpc_connect_timeout ${connectTimeout}s;
      grpc_send_timeout ${sendTimeout}s;
      grpc_read_timeout ${readTimeout}s;
      grpc_pass grpc://$replicas;
    }
  }
}
`;
}

function upstreamOf(name: string, ports: readonly number[]): string {
  // nginx refuses one of no server.
  if (ports.length === 0) return "";
  const servers = ports.map((port) => `server 127.0.0.1:${port} max_fails=0;`).join(" ");
  return `upstream ${name} {
    ${servers}
    keepalive 320;
    keepalive_time 1h;
    keepalive_timeout 60s;
    keepalive_requests 10000;
  }`;
}
