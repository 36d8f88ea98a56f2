import { EventEmitter } from "node:events";
import { status } from "@grpc/grpc-js";

/** A request that cannot be met, with the status of gRPC that says so. */
export class StockError extends Error {
  override readonly name = "StockError";
  readonly code: status;

  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Warehouse {
  readonly id: string;
  readonly city: string;
  readonly shippingClass: string;
}

/** How much of an item lies in one warehouse. */
export interface Level {
  readonly warehouseId: string;
  readonly available: number;
  readonly reserved: number;
}

export interface ReservationLine {
  readonly sku: string;
  readonly warehouseId: string;
  readonly quantity: number;
}

const warehouses: readonly Warehouse[] = [
  { id: "north", city: "Oslo", shippingClass: "SHIPPING_CLASS_EXPRESS" },
  { id: "middle", city: "Leipzig", shippingClass: "SHIPPING_CLASS_EXPRESS" },
  { id: "south", city: "Lisbon", shippingClass: "SHIPPING_CLASS_STANDARD" },
];

/** Pieces of each item, in the order of the warehouses. */
const items: Readonly<Record<string, { readonly name: string; readonly pieces: readonly number[] }>> = {
  "TENT-2P": { name: "Tent for two", pieces: [4, 12, 0] },
  "STOVE-GAS": { name: "Gas stove", pieces: [25, 40, 31] },
  "LAMP-LED": { name: "Head lamp", pieces: [120, 80, 64] },
  "ROPE-60M": { name: "Climbing rope, 60 m", pieces: [0, 7, 2] },
};

/** What lies in the warehouses. In memory: each one begins with the same pieces. */
export class Stock {
  readonly warehouses = warehouses;
  readonly #levels = new Map<string, Level[]>();
  readonly #changes = new EventEmitter<Record<string, []>>().setMaxListeners(0);
  #reservations = 0;

  constructor() {
    for (const [sku, { pieces }] of Object.entries(items)) {
      const levels = warehouses.map(({ id }, index) => ({
        warehouseId: id,
        available: pieces[index] ?? 0,
        reserved: 0,
      }));
      this.#levels.set(sku, levels);
    }
  }

  get skus(): readonly string[] {
    return [...this.#levels.keys()];
  }

  name(sku: string): string {
    return items[sku]?.name ?? "";
  }

  /** @throws {StockError} when there is no such item. */
  levels(sku: string): readonly Level[] {
    const levels = this.#levels.get(sku);
    if (levels === undefined) {
      throw new StockError(status.NOT_FOUND, `there is no item ${sku}, but ${this.skus.join(", ")}`);
    }
    return levels;
  }

  /** Calls the listener each time that the stock of the item changes, until the result is disposed of. */
  watch(sku: string, listener: () => void): Disposable {
    this.#changes.on(sku, listener);
    return { [Symbol.dispose]: () => this.#changes.off(sku, listener) };
  }

  /**
   * Reserves all lines, or none.
   *
   * @returns identifier of the reservation.
   * @throws {StockError} when there is no such item or warehouse, or not enough.
   */
  reserve(lines: readonly ReservationLine[]): string {
    const changed = new Map<string, readonly Level[]>();
    for (const { sku, warehouseId, quantity } of lines) {
      const levels = changed.get(sku) ?? this.levels(sku);
      const level = levels.find((candidate) => candidate.warehouseId === warehouseId);
      if (level === undefined) throw this.noWarehouse(warehouseId);
      const { available, reserved } = level;
      if (available < quantity) {
        const message = `${warehouseId} has only ${available} of ${sku}, not ${quantity}`;
        throw new StockError(status.FAILED_PRECONDITION, message);
      }
      const next = { warehouseId, available: available - quantity, reserved: reserved + quantity };
      changed.set(
        sku,
        levels.map((candidate) => (candidate === level ? next : candidate)),
      );
    }
    for (const [sku, levels] of changed) this.#set(sku, levels);
    return `R-${++this.#reservations}`;
  }

  /** Sells one piece of an item, if there is one. */
  sell(sku: string): void {
    const levels = this.levels(sku);
    const level = levels.find(({ available }) => available > 0);
    if (level === undefined) return;
    const sold = { ...level, available: level.available - 1 };
    this.#set(
      sku,
      levels.map((candidate) => (candidate === level ? sold : candidate)),
    );
  }

  noWarehouse(id: string): StockError {
    const ids = warehouses.map((warehouse) => warehouse.id).join(", ");
    return new StockError(status.NOT_FOUND, `there is no warehouse ${id}, but ${ids}`);
  }

  #set(sku: string, levels: readonly Level[]): void {
    this.#levels.set(sku, [...levels]);
    this.#changes.emit(sku);
  }
}
