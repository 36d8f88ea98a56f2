import { setTimeout as sleep } from "node:timers/promises";
import type { Upstream } from "../load/upstream.ts";
import { type Figures, spreadText } from "../report.ts";
import { FORMS, startVariant, type TelemetryVariant } from "../servers/telemetry-variants.ts";
import { ratioOf } from "../statistics.ts";
import { type ClosedLoop, closedLoop } from "./closed-loop.ts";

/** The call's own, and that of the request to Claude. */
const SPANS_A_CALL = 2;

/** Longer than a batch of spans waits to be full. */
const EXPORT_MS = 10_000;

/** What tracing may cost, beside what the same costs without. */
const BARS = [
  { workload: "saturating", figure: "CPU µs/token", most: 1.05 },
  { workload: "unary", figure: "CPU µs/call", most: 1.3 },
  { workload: "1-token streams", figure: "CPU µs/call", most: 1.3 },
];

/** What telemetry costs: Parley in several forms of it, which get the same work in turns. */
export class TelemetryCost implements AsyncDisposable {
  readonly #variants: readonly TelemetryVariant[];
  readonly #upstream: Upstream;
  readonly #stack: AsyncDisposableStack;
  /** Calls made, by variants. */
  readonly #calls = new Map<TelemetryVariant, number>();
  #rounds = 0;

  static async start(upstream: Upstream): Promise<TelemetryCost> {
    await using stack = new AsyncDisposableStack();
    const variants: TelemetryVariant[] = [];
    for (const form of FORMS) variants.push(await startVariant(form, upstream, stack));
    return new TelemetryCost(variants, upstream, stack.move());
  }

  private constructor(variants: readonly TelemetryVariant[], upstream: Upstream, stack: AsyncDisposableStack) {
    this.#variants = variants;
    this.#upstream = upstream;
    this.#stack = stack;
  }

  /**
   * Gives each variant the same work, one after the other, and in the next round the other way round.
   *
   * @param figures undefined: the round does not count.
   */
  async round(loads: Readonly<Record<string, ClosedLoop>>, figures: Figures | undefined): Promise<void> {
    const order = this.#rounds++ % 2 === 0 ? this.#variants : this.#variants.toReversed();
    for (const [name, load] of Object.entries(loads)) {
      for (const variant of order) {
        using _ = variant.startScraping?.();
        const { cpu, calls, tokens, made } = await closedLoop(variant, this.#upstream, load);
        this.#calls.set(variant, (this.#calls.get(variant) ?? 0) + made);
        if (load.tokens > 1) figures?.note(name, "CPU µs/token", 2, variant, cpu / tokens);
        else figures?.note(name, "CPU µs/call", 0, variant, cpu / calls);
      }
    }
  }

  /** What of the spans has come: a variant that loses some looks cheaper than it is. Those of the last calls come late. */
  async exported(): Promise<string[]> {
    const lines: string[] = [];
    const until = performance.now() + EXPORT_MS;
    for (const variant of this.#variants) {
      const { name, collector, sampled } = variant;
      if (collector === undefined || sampled === 0) continue;
      const all = (this.#calls.get(variant) ?? 0) * SPANS_A_CALL;
      while (collector.spans < all * sampled && performance.now() < until) await sleep(100);
      const share = ((100 * collector.spans) / all).toFixed(2);
      lines.push(`spans exported, ${name}: ${collector.spans} of ${all} (${share} %)`);
    }
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Whether each bar holds. */
export function barsOf({ all }: Figures): string[] {
  return BARS.flatMap(({ workload, figure, most }) => {
    const values = all.find((one) => one.workload === workload && one.figure === figure)?.values ?? {};
    return FORMS.filter((form) => "sampled" in form && form.sampled === 1).map(({ name }) => {
      const ratio = ratioOf(values[name] ?? [], values[FORMS[0].name] ?? []);
      const verdict = ratio.median <= most ? "holds" : "DOES NOT HOLD";
      return `${verdict}: ${workload}, ${figure}, ${name} / off ${spreadText(ratio, 2)}, bar ${most}`;
    });
  });
}
