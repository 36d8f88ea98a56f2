import { test } from "node:test";
import { missingTools } from "../chart/tools.ts";
import { ingressAnnotations } from "./chart.ts";
import { readAnnotations } from "./ingress-nginx.ts";
import { missingNginx, startNginx } from "./nginx.ts";
import { restartBehind } from "./rollout.ts";

test("a rolling restart of two replicas behind nginx fails no call and cuts no stream", {
  skip: missingNginx() || missingTools,
  timeout: 120_000,
}, async (context) => {
  const settings = readAnnotations(await ingressAnnotations());
  await restartBehind((upstreams) => startNginx({ settings, upstreams }), 4, context);
});
