/** The values of each label that comes from outside. */
export interface Labels {
  readonly models: LabelValues;
  readonly callers: LabelValues;
  readonly tools: LabelValues;
  /** Reasons of errors. Claude may have new ones. */
  readonly reasons: LabelValues;
  readonly stopReasons: LabelValues;
}

/** @param models those of the configuration. */
export function createLabels(models: Iterable<string>): Labels {
  return {
    models: new LabelValues({ known: models, max: 100 }),
    callers: new LabelValues({ known: ["anonymous"], max: 200 }),
    tools: new LabelValues({ max: 500 }),
    reasons: new LabelValues({ max: 100 }),
    stopReasons: new LabelValues({ max: 20 }),
  };
}

/** What a label has in the place of values that there is no room for. */
const OTHER = "other";

/** The most characters of a value that is not known. */
const MAX_LENGTH = 128;

/**
 * Values of a label that come from outside, and so must be bounded: each is a series that this process and Prometheus keep
 * for ever.
 */
export class LabelValues {
  readonly #admitted: Set<string>;
  readonly #most: number;

  /**
   * @param known values that always pass.
   * @param max how many others pass. All further ones become `other`.
   */
  constructor({ known = [], max }: { readonly known?: Iterable<string>; readonly max: number }) {
    // `other` takes nobody's place.
    this.#admitted = new Set([OTHER, ...known]);
    this.#most = this.#admitted.size + max;
  }

  /** The value as the label has it: itself, or `other` when there is no room for it. */
  admit(value: string): string {
    if (this.#admitted.has(value)) return value;
    if (this.#admitted.size >= this.#most || !isFit(value)) return OTHER;
    this.#admitted.add(value);
    return value;
  }

  /** Whether a value is known, or has been admitted before. `other` is nobody's. */
  isKnown(value: string): boolean {
    return value !== OTHER && this.#admitted.has(value);
  }

  /** The same for a value that nobody vouches for: itself only if it is known, or has been admitted before. */
  lookUp(value: string): string {
    return this.isKnown(value) ? value : OTHER;
  }
}

/** Halves of surrogates all become the same character in UTF-8: two series with the same labels spoil a whole scrape. */
function isFit(value: string): boolean {
  return value.length <= MAX_LENGTH && value.isWellFormed() && !/\p{Cc}/u.test(value);
}
