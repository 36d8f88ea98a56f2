import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type DescMethod, type FileRegistry, fromJson, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { loadImage } from "../../descriptors/image.ts";
import { createMessageValidator } from "../../descriptors/message-json.ts";
import { serviceDefinition } from "./service-definition.ts";
import { type ReservationLine, Stock, StockError } from "./stock.ts";

/** Path of the descriptor image of the service. */
export const INVENTORY_IMAGE = join(import.meta.dirname, "inventory.binpb");
/** How long a reservation holds. */
const RESERVATION_MS = 60 * 60 * 1_000;

export interface InventoryServiceOptions {
  /** How long each answer takes at least, in milliseconds: so that calls can be seen to run side by side. Default: 0. */
  readonly latencyMs?: number;
  /** How often somebody buys a piece, in milliseconds. Default: never. */
  readonly saleEveryMs?: number;
}

/** The inventory service, over gRPC without TLS on a port of its own. */
export interface InventoryService extends AsyncDisposable {
  /** `host:port`, which is a target of gRPC, too. */
  readonly address: string;
}

/** What the methods take and give, in the JSON of protobuf: no code is generated for the service. */
interface Requests {
  readonly GetStock: { readonly sku: string; readonly warehouseId?: string };
  readonly ListWarehouses: { readonly shippingClass?: string };
  readonly ReserveItems: { readonly orderId: string; readonly lines: readonly ReservationLine[] };
  readonly WatchStock: { readonly sku: string; readonly maxMessages?: number };
}

/** Starts the service, as any team may have one: it knows nothing of Parley. */
export async function startInventoryService(options: InventoryServiceOptions = {}): Promise<InventoryService> {
  const { latencyMs = 0, saleEveryMs } = options;
  const registry = loadImage(INVENTORY_IMAGE);
  const service = registry.getService("inventory.v1.InventoryService");
  if (service === undefined) throw new Error(`${INVENTORY_IMAGE} has no inventory service: build it anew`);
  const stock = new Stock();
  const codec = createCodec(registry);

  const unary =
    <R>(method: DescMethod, answer: (request: R) => unknown) =>
    async (call: ServerUnaryCall<Message, Message>, callback: sendUnaryData<Message>) => {
      try {
        const request = codec.read<R>(method, call.request);
        await sleep(latencyMs);
        callback(null, codec.write(method, answer(request)));
      } catch (error) {
        callback(statusOf(error));
      }
    };
  const watch = (method: DescMethod) => async (call: ServerWritableStream<Message, Message>) => {
    try {
      const { sku, maxMessages = Number.POSITIVE_INFINITY } = codec.read<Requests["WatchStock"]>(method, call.request);
      let sent = 0;
      const tell = () => {
        if (sent++ >= maxMessages) return;
        call.write(codec.write(method, { levels: stock.levels(sku), changeTime: new Date().toISOString() }));
        if (sent === maxMessages) call.end();
      };
      stock.levels(sku);
      await sleep(latencyMs);
      if (call.cancelled) return;
      const watching = stock.watch(sku, tell);
      call.on("close", () => watching[Symbol.dispose]());
      call.on("cancelled", () => watching[Symbol.dispose]());
      tell();
    } catch (error) {
      call.emit("error", statusOf(error));
    }
  };
  const { getStock, listWarehouses, reserveItems, watchStock } = service.method;
  if (!(getStock && listWarehouses && reserveItems && watchStock)) throw new Error("the image is an old one");

  const server = new Server();
  server.addService(serviceDefinition(service), {
    GetStock: unary(getStock, ({ sku, warehouseId }: Requests["GetStock"]) => {
      const levels = stock.levels(sku).filter((level) => level.warehouseId === (warehouseId ?? level.warehouseId));
      if (warehouseId !== undefined && levels.length === 0) throw stock.noWarehouse(warehouseId);
      return { sku, name: stock.name(sku), levels, countTime: new Date().toISOString() };
    }),
    ListWarehouses: unary(listWarehouses, ({ shippingClass }: Requests["ListWarehouses"]) => ({
      warehouses: stock.warehouses.filter(
        (warehouse) => warehouse.shippingClass === (shippingClass ?? warehouse.shippingClass),
      ),
    })),
    ReserveItems: unary(reserveItems, ({ lines }: Requests["ReserveItems"]) => ({
      reservationId: stock.reserve(lines),
      lines,
      expireTime: new Date(Date.now() + RESERVATION_MS).toISOString(),
    })),
    WatchStock: watch(watchStock),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const sales = saleEveryMs === undefined ? undefined : startSales(stock, saleEveryMs);
  return {
    address: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      clearInterval(sales);
      server.forceShutdown();
    },
  };
}

/** Sells a piece of one item after the other. */
function startSales(stock: Stock, everyMs: number): NodeJS.Timeout {
  let number = 0;
  return setInterval(() => {
    const sku = stock.skus[number++ % stock.skus.length];
    if (sku !== undefined) stock.sell(sku);
  }, everyMs).unref();
}

/** Between messages and their JSON. */
function createCodec(registry: FileRegistry) {
  const validator = createMessageValidator(registry);
  return {
    /** @throws {StockError} when the request breaks a rule. */
    read<R>({ input }: DescMethod, message: Message): R {
      const { violations = [] } = validator.validate(input, message);
      if (violations.length > 0) throw new StockError(status.INVALID_ARGUMENT, violations.join("; "));
      return toJson(input, message) as R;
    },
    write: ({ output }: DescMethod, json: unknown): Message => fromJson(output, json as JsonValue),
  };
}

function statusOf(error: unknown): { code: status; details: string } {
  if (error instanceof StockError) return { code: error.code, details: error.message };
  return { code: status.INTERNAL, details: "internal error" };
}
