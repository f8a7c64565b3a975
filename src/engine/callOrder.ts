/** Executes calls in the order in which they were made, each once the one before has ended, awaited or not. */
export class CallOrder {
  #last: Promise<unknown> = Promise.resolve();
  #count = 0;

  /** Calls that were made. */
  get count(): number {
    return this.#count;
  }

  run<T>(call: () => T | Promise<T>): Promise<T> {
    this.#count++;
    const result = this.#last.then(call);
    this.#last = result.catch(() => {}); // its caller is told
    return result;
  }
}
