import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Manifest, render, valuesFile } from "./helm.ts";
import { missingTools } from "./tools.ts";

const NGINX = "nginx.ingress.kubernetes.io/";

describe("the services", { skip: missingTools, concurrency: 2 }, () => {
  test("say that the port is HTTP/2 without TLS, or TLS", async () => {
    for (const [values, appProtocol] of [
      [{}, "kubernetes.io/h2c"],
      [{ tls: { secretName: "parley-tls" } }, "https"],
    ] as const) {
      const manifests = await render(values);
      for (const { metadata, spec } of manifests.of("Service")) {
        const grpc = spec.ports.find(({ name }: Manifest) => name === "grpc");
        assert.equal(grpc.appProtocol, appProtocol, metadata.name);
        assert.equal(grpc.targetPort, "grpc");
      }
    }
  });

  test("lead to ports that the container has", async () => {
    const manifests = await render();
    const ports = Object.fromEntries(
      manifests.container.ports.map(({ name, containerPort }: Manifest) => [name, containerPort]),
    );
    assert.deepEqual(ports, { grpc: 8_080, admin: 9_090 });
    for (const { spec } of manifests.of("Service")) {
      for (const { targetPort } of spec.ports) assert.ok(targetPort in ports);
    }
  });

  test("are one address for all, without the admin port, and all addresses of those that are ready", async () => {
    const manifests = await render({ service: { port: 80 } });
    const [service, headless] = [manifests.one("Service", "parley"), manifests.one("Service", "-headless")];
    assert.deepEqual(
      service.spec.ports.map(({ name, port }: Manifest) => [name, port]),
      [["grpc", 80]],
    );
    assert.equal(headless.spec.clusterIP, "None");
    assert.equal(headless.spec.publishNotReadyAddresses, false);
    // What a headless service has as its port is translated by nobody.
    assert.deepEqual(
      headless.spec.ports.map(({ name, port }: Manifest) => [name, port]),
      [
        ["grpc", 8_080],
        ["admin", 9_090],
      ],
    );
  });

  test("have what clusters and load balancers want to know", async () => {
    const manifests = await render({
      service: {
        type: "LoadBalancer",
        annotations: { internal: "true" },
        ipFamilyPolicy: "RequireDualStack",
        trafficDistribution: "PreferClose",
        spec: { loadBalancerClass: "example.com/internal", loadBalancerSourceRanges: ["10.0.0.0/8"] },
      },
    });
    const { metadata, spec } = manifests.one("Service", "parley");
    assert.deepEqual(metadata.annotations, { internal: "true" });
    assert.partialDeepStrictEqual(spec, {
      type: "LoadBalancer",
      ipFamilyPolicy: "RequireDualStack",
      trafficDistribution: "PreferClose",
      loadBalancerClass: "example.com/internal",
      loadBalancerSourceRanges: ["10.0.0.0/8"],
    });
    assert.equal(manifests.one("Service", "-headless").spec.ipFamilyPolicy, "RequireDualStack");
  });
});

describe("the network policy", { skip: missingTools, concurrency: 2 }, () => {
  test("lets everybody call by default, and only monitoring reach the admin port", async () => {
    const { spec } = (await render()).one("NetworkPolicy");
    assert.deepEqual(spec.policyTypes, ["Ingress"]);
    assert.deepEqual(spec.ingress, [
      { ports: [{ port: "grpc", protocol: "TCP" }] },
      {
        ports: [{ port: "admin", protocol: "TCP" }],
        from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
      },
    ]);
  });

  test("lets nobody reach the admin port where nobody is named", async () => {
    const { spec } = (await render({ networkPolicy: { admin: [] } })).one("NetworkPolicy");
    assert.deepEqual(spec.ingress, [{ ports: [{ port: "grpc", protocol: "TCP" }] }]);
  });

  test("lets only callers that are named call, and the pod of helm test", async () => {
    const manifests = await render(valuesFile("network-policy-strict"));
    const [{ from }] = manifests.one("NetworkPolicy").spec.ingress;
    assert.equal(from.length, 2);
    assert.deepEqual(from[0].podSelector, { matchLabels: { calls: "parley" } });
    const { matchLabels } = from[1].podSelector;
    assert.partialDeepStrictEqual(manifests.one("Pod").metadata.labels, matchLabels);
  });

  test("knows of no pod of helm test where there is none", async () => {
    for (const none of [{ test: { enabled: false } }, { tls: { secretName: "tls", clientCertificates: true } }]) {
      const manifests = await render({ networkPolicy: { callers: [{ namespaceSelector: {} }] }, ...none });
      assert.deepEqual(manifests.of("Pod"), []);
      assert.deepEqual(manifests.one("NetworkPolicy").spec.ingress[0].from, [{ namespaceSelector: {} }]);
    }
  });

  test("lets replicas reach names, Claude, and what is named, if it is to say so", async () => {
    const { spec } = (await render(valuesFile("network-policy-strict"))).one("NetworkPolicy");
    assert.deepEqual(spec.policyTypes, ["Ingress", "Egress"]);
    assert.deepEqual(
      spec.egress.flatMap(({ ports }: Manifest) => ports.map(({ port }: Manifest) => port)),
      [53, 53, 443, 4_317, 8_080],
    );
  });

  test("is left away where it is not wanted", async () => {
    assert.deepEqual((await render(valuesFile("no-network-policy"))).of("NetworkPolicy"), []);
  });
});

describe("the Ingress", { skip: missingTools, concurrency: 2 }, () => {
  test("tells nginx of gRPC, of long silence, of large requests, and to hold nothing back", async () => {
    const { metadata, spec } = (await render({ ingress: { enabled: true, hosts: ["a.example", "b.example"] } })).one(
      "Ingress",
    );
    assert.deepEqual(metadata.annotations, {
      [`${NGINX}backend-protocol`]: "GRPC",
      [`${NGINX}proxy-read-timeout`]: "3600",
      [`${NGINX}proxy-send-timeout`]: "3600",
      [`${NGINX}proxy-buffering`]: "off",
      [`${NGINX}proxy-request-buffering`]: "off",
      [`${NGINX}proxy-body-size`]: "32m",
    });
    assert.deepEqual(
      spec.rules.map(({ host }: Manifest) => host),
      ["a.example", "b.example"],
    );
    for (const { http } of spec.rules) {
      assert.deepEqual(http.paths[0].backend.service, { name: "parley", port: { name: "grpc" } });
    }
    assert.deepEqual(spec.tls, [{ hosts: ["a.example", "b.example"] }]);
    assert.equal(spec.ingressClassName, "nginx");
  });

  test("takes annotations of the values before its own", async () => {
    const { metadata, spec } = (await render(valuesFile("ingress"))).one("Ingress");
    assert.equal(metadata.annotations[`${NGINX}proxy-read-timeout`], "7200");
    assert.equal(metadata.annotations[`${NGINX}proxy-send-timeout`], "3600");
    assert.equal(metadata.annotations["cert-manager.io/cluster-issuer"], "letsencrypt");
    assert.equal(spec.tls[0].secretName, "parley-front");
  });

  test("speaks TLS to replicas that do", async () => {
    const { metadata, spec } = (await render(valuesFile("ingress-tls-to-replicas"))).one("Ingress");
    assert.equal(metadata.annotations[`${NGINX}backend-protocol`], "GRPCS");
    assert.equal(metadata.annotations[`${NGINX}proxy-read-timeout`], "900");
    assert.equal(metadata.annotations[`${NGINX}proxy-body-size`], "8m");
    assert.ok(!("ingressClassName" in spec), "no class is the cluster's own");
  });
});

describe("the GRPCRoute", { skip: missingTools, concurrency: 2 }, () => {
  test("leads from the gateways to the service", async () => {
    const manifests = await render(valuesFile("grpc-route"));
    const { apiVersion, spec } = manifests.one("GRPCRoute");
    assert.equal(apiVersion, "gateway.networking.k8s.io/v1");
    assert.deepEqual(spec.parentRefs, [{ name: "internal", namespace: "gateways", sectionName: "grpc" }]);
    assert.deepEqual(spec.hostnames, ["parley.shop.example"]);
    assert.deepEqual(spec.rules[0].backendRefs, [{ name: "parley", port: 8_080 }]);
    assert.equal(spec.rules[0].filters[0].type, "RequestHeaderModifier");
  });
});

describe("extra objects", { skip: missingTools, concurrency: 2 }, () => {
  test("can be mappings and texts, with templates in them", async () => {
    const manifests = await render(valuesFile("extra-objects"));
    const { metadata, data } = manifests.one("ConfigMap", "-notes");
    assert.equal(metadata.name, "parley-notes");
    assert.deepEqual(data, { release: "parley" });
    assert.equal(manifests.one("Service", "-old-name").spec.externalName, "parley.shop.svc.cluster.local");
  });
});
