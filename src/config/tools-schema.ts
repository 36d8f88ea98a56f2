import { isIP } from "node:net";
import { z } from "zod";
import { section, sectionError, text, texts } from "./sections.ts";
import { count, duration, size } from "./units.ts";

/** Begins the names of the tools of a source. */
const namespace = text.regex(/^[a-zA-Z][a-zA-Z0-9_-]{0,31}$/, {
  error: "must be a letter and up to 31 letters, digits, _ and -",
});
const toolName = text.regex(/^[a-zA-Z0-9_-]{1,128}$/, { error: "must be up to 128 letters, digits, _ and -" });
const bool = z.boolean("must be true or false");
/** Headers that belong to one connection or one call, or say who is calling: each call has its own. */
const OWN_HEADERS =
  /^(?:grpc-.*|x-parley-.*|accept|accept-encoding|connection|content-encoding|content-length|content-type|expect|host|http2-settings|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|user-agent)$/;
/** Names of headers that are passed on, in small letters. */
const headerNames = z.array(
  text
    .regex(/^[a-z0-9][a-z0-9_.-]*$/, { error: "must be the name of a header in small letters" })
    .refine((name) => !OWN_HEADERS.test(name), {
      error: ({ input }) => `cannot be ${input}, which each call has for itself`,
    }),
  "must be a list of texts",
);

/** A mapping of the names of headers, as HTTP has them (RFC 9110). */
function byHeader(problem: string) {
  return z.record(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/), text, {
    error: ({ code }) => (code === "invalid_key" ? "must be the name of a header" : problem),
  });
}

/** A target of gRPC that is an address, not a name. */
const ADDRESS = /^(?:ipv[46]:|(?:dns:(?:\/\/[^/]*\/)?)?(?:\d+(?:\.\d+){3}(?::\d+)?$|\[))/;

const method = z.strictObject(
  {
    /** `pkg.v1.Service/Method`, unary or server-streaming. */
    name: text.regex(/^[\w.]+\/\w+$/, { error: "must be a method such as inventory.v1.InventoryService/GetStock" }),
    /** Name of the tool. Unset: the name of the service entry, `_`, and that of the method in snake_case. */
    tool: toolName.optional(),
    /** What Claude is told of it. Unset: the comment of the method. */
    description: text.optional(),
    timeout: duration("10ms", "1h").optional(),
    /** Calls at a time, of all runs in this process. */
    concurrency: count(1, 10_000).optional(),
    /** Whether a person must approve each call. */
    approval: bool.optional(),
  },
  { error: sectionError },
);

const grpcService = z
  .strictObject(
    {
      /** Begins the names of its tools. */
      name: namespace,
      /** Target of gRPC, such as `dns:///inventory:8080`. Calls are spread over all addresses that it has. */
      target: text.refine((value) => !/^(?!dns:|unix:)[a-z][a-z0-9+.-]*:\/\//i.test(value), {
        error: ({ input }) => `must be a target such as dns:///inventory:8080, but is ${JSON.stringify(input)}`,
      }),
      /** Descriptor image, made by `buf build -o inventory.binpb`. Unset: server reflection, for development. */
      descriptors: text.optional(),
      /** Unset: without TLS. */
      tls: z
        .strictObject(
          {
            /** Authorities that the server's certificate may come from, in PEM. Unset: those that Node trusts. */
            caFile: text.optional(),
            /** Certificate of this client, in PEM. */
            certFile: text.optional(),
            /** Its private key, in PEM. */
            keyFile: text.optional(),
            /** Name that the server's certificate must have, where it is not that of the target. */
            serverName: text.refine((value) => isIP(value) === 0, "must be a name, not an address").optional(),
          },
          { error: sectionError },
        )
        .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
          error: "must have both certFile and keyFile, or neither",
        })
        .optional(),
      /** The methods that become tools. No other is ever called. */
      methods: z.array(method, "must be a list of methods").min(1, "must not be empty"),
      /** Headers of the request that began a run which its tool calls carry too, such as `authorization`. */
      forwardHeaders: headerNames.default([]),
      timeout: duration("10ms", "1h").prefault("30s"),
      concurrency: count(1, 10_000).default(32),
      /** The most bytes of one answer, and of all messages of a stream: as protobuf, and as JSON. */
      responseBytes: size("1KiB", "64MiB").prefault("1MiB"),
      /**
       * How often a PING asks whether the service is still there, while calls are in progress. Servers of gRPC close
       * connections that ask more often than they allow: every 5 minutes, if nothing else is set there.
       */
      keepAlive: duration("1s", "24h").prefault("5m"),
    },
    { error: sectionError },
  )
  // Node refuses addresses as names of TLS servers.
  .refine(({ target, tls }) => tls === undefined || tls.serverName !== undefined || !ADDRESS.test(target), {
    error: "must have tls.serverName, because its target is an address: certificates are checked by name",
  });

const mcpServer = z
  .strictObject(
    {
      /** Begins the names of its tools, before `__`. */
      name: namespace,
      /** Address of its streamable HTTP endpoint. */
      url: text
        .refine((value) => /^https?:$/.test(URL.parse(value)?.protocol ?? ""), "must be an http or https URL")
        .optional(),
      /** Headers of all requests to it. */
      headers: byHeader("must be a mapping of names to texts").default({}),
      /** Headers whose values are in files, which are read anew for each connection: for tokens. */
      headerFiles: byHeader("must be a mapping of names to paths").default({}),
      /** For development: the program that is started, and speaks on its standard input and output. */
      command: z.array(text, "must be a list of texts").min(1, "must not be empty").optional(),
      /** Environment of that program, besides PATH, HOME and the like. */
      env: z.record(z.string(), z.string(), "must be a mapping of names to texts").default({}),
      /** The tools that may be used, by the server's own names. Unset: all. */
      tools: texts.optional(),
      /** Those of them that a person must approve each call of; `*` for all. */
      approval: texts.default([]),
      timeout: duration("10ms", "1h").prefault("30s"),
      concurrency: count(1, 10_000).default(16),
      /** How long connecting may take, each answer of it, and how long a call waits for a connection. */
      connectTimeout: duration("100ms", "5m").prefault("10s"),
      /** How often its tools are listed again, for servers that do not tell when they change. */
      refresh: duration("100ms", "24h").prefault("5m"),
      /** The most bytes of one answer. */
      responseBytes: size("1KiB", "64MiB").prefault("8MiB"),
    },
    { error: sectionError },
  )
  .refine(({ url, command }) => (url === undefined) !== (command === undefined), {
    error: "must have either a url or a command",
  });

/** The tools that Parley runs for Claude. */
export const toolsSchema = section({
  /** Tools in this process. */
  local: z.array(z.enum(["current_time"], "must be current_time"), "must be a list of names").default(["current_time"]),
  grpc: z.array(grpcService, "must be a list of services").superRefine(uniqueNames).default([]),
  mcp: z.array(mcpServer, "must be a list of servers").superRefine(uniqueNames).default([]),
  /** Further descriptor images: their messages can be asked for as `output_config.message_type`. */
  descriptors: texts.default([]),
});

function uniqueNames(entries: readonly { readonly name: string }[], context: z.RefinementCtx): void {
  for (const [index, { name }] of entries.entries()) {
    if (entries.findIndex((entry) => entry.name === name) === index) continue;
    context.addIssue({ code: "custom", path: [index, "name"], message: `must be unique, but ${name} is there twice` });
  }
}

export type ToolsConfig = z.output<typeof toolsSchema>;
export type GrpcServiceConfig = z.output<typeof grpcService>;
export type McpServerConfig = z.output<typeof mcpServer>;
