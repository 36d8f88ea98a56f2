/** Named points at which answers wait until a test lets them pass. */
export interface Gates {
  /** Resolves when the gate is open, at once if it already is. */
  passed(name: string): Promise<void>;
  open(name: string): void;
}

/** Gates that are all closed. */
export function createGates(): Gates {
  const gates = new Map<string, PromiseWithResolvers<void>>();
  function gate(name: string): PromiseWithResolvers<void> {
    let found = gates.get(name);
    if (!found) {
      found = Promise.withResolvers<void>();
      gates.set(name, found);
    }
    return found;
  }
  return {
    passed: (name) => gate(name).promise,
    open: (name) => gate(name).resolve(),
  };
}
