import type { Attributes, Observable } from "@opentelemetry/api";

/** The most label sets of an instrument, as many as OpenTelemetry allows. Those beyond share what it has for them, too. */
const MAX_LABEL_SETS = 1_999;
const OVERFLOW: Attributes = { "otel.metric.overflow": true };

/** What has been added up for one set of labels. */
export class Sum {
  /** Undefined: nothing has been added yet. */
  value: number | undefined;

  add(value: number): void {
    this.value = (this.value ?? 0) + value;
  }
}

/**
 * A counter that each call adds to. One of OpenTelemetry's own would make a text of the labels to find the sum, each time
 * and for each reader, which costs more than the rest of its work; the sums here are only told when somebody collects them.
 */
export class Sums {
  readonly #sums = new Map<Attributes, Sum>();
  #overflow: Sum | undefined;

  /** @param instrument an observable counter, which nobody else observes. */
  constructor(instrument: Observable) {
    instrument.addCallback((result) => {
      for (const [labels, { value }] of this.#sums) if (value !== undefined) result.observe(value, labels);
    });
  }

  /** A new sum. Its labels must differ from those of all others: whoever asks keeps what is returned. */
  with(labels: Attributes): Sum {
    if (this.#sums.size < MAX_LABEL_SETS) return this.#put(labels);
    this.#overflow ??= this.#put(OVERFLOW);
    return this.#overflow;
  }

  #put(labels: Attributes): Sum {
    const sum = new Sum();
    this.#sums.set(labels, sum);
    return sum;
  }
}

/** Remembers what a function has returned for each key. The keys must be few. */
export function remembered<T>(create: (key: string) => T): (key: string) => T {
  const values = new Map<string, T>();
  return (key) => {
    let value = values.get(key);
    if (value === undefined) {
      value = create(key);
      values.set(key, value);
    }
    return value;
  };
}
