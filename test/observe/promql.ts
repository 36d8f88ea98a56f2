/** A metric in a query, with the labels that the query needs of it. */
export interface MetricUse {
  readonly metric: string;
  /** Of its matchers, and of all `by (…)` around it. */
  readonly labels: readonly string[];
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[a-zA-Z_:][a-zA-Z0-9_:]*|\[[^\]]*\]|[0-9.]+[a-z]*|[=!<>]=|[=!]~|\S/g;
const NAME = /^[a-zA-Z_:]/;

const AGGREGATIONS = new Set("sum avg min max count group stddev stdvar topk bottomk quantile count_values".split(" "));
/** Words after which labels come in brackets that are no part of the result of what is around them. */
const MATCHING = new Set(["on", "ignoring", "group_left", "group_right", "without"]);
const OPERATORS = new Set(["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"]);

/**
 * The metrics in a query of Prometheus. It knows as much of PromQL as our own queries need: an aggregation has its
 * `by (…)` before its operand.
 */
export function metricsIn(query: string): MetricUse[] {
  const tokens: string[] = query.match(TOKEN) ?? [];
  const uses: MetricUse[] = [];
  let at = 0;

  /** Skips what is in brackets, and returns its names. */
  function list(): string[] {
    const end = tokens.indexOf(tokens[at] === "(" ? ")" : "}", at);
    const inside = tokens.slice(at + 1, end);
    at = end + 1;
    return inside.filter((token) => NAME.test(token));
  }

  function expression(by: readonly string[]): void {
    let pending = by;
    while (at < tokens.length) {
      const token = tokens[at++] ?? "";
      if (token === ")") return;
      if (token === "(") {
        expression(pending);
        pending = by;
      } else if (token === "by") pending = [...by, ...list()];
      else if (MATCHING.has(token)) {
        if (tokens[at] === "(") list();
      } else if (!NAME.test(token) || OPERATORS.has(token.toLowerCase()) || AGGREGATIONS.has(token)) continue;
      else if (tokens[at] !== "(") uses.push({ metric: token, labels: [...by, ...(tokens[at] === "{" ? list() : [])] });
    }
  }

  expression([]);
  return uses;
}

/** The series of a scrape: of each metric, the names of the labels of each of its series. */
export function seriesIn(scrape: string): Map<string, Set<string>[]> {
  const series = new Map<string, Set<string>[]>();
  for (const [, metric = "", labels = ""] of scrape.matchAll(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/gm)) {
    const names = new Set(Array.from(labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g), ([, name = ""]) => name));
    series.set(metric, [...(series.get(metric) ?? []), names]);
  }
  return series;
}
