/** Which variant of a kernel is best for a class of shapes: answers so far, and the questions that have none yet. */
export class Choices {
  readonly #answers: Map<string, string>;
  readonly #open = new Set<string>();

  constructor(answers: Iterable<readonly [string, string]> = []) {
    this.#answers = new Map(answers);
  }

  /** The index of the variant that is known to be best; of the first one where nothing was measured. */
  choose(question: string, names: readonly string[]): number {
    const answer = this.#answers.get(question);
    const index = answer === undefined ? -1 : names.indexOf(answer);
    if (index < 0) this.#open.add(question);
    return Math.max(index, 0);
  }

  answer(question: string, name: string): void {
    this.#answers.set(question, name);
    this.#open.delete(question);
  }

  get open(): readonly string[] {
    return [...this.#open];
  }

  get answers(): readonly (readonly [string, string])[] {
    return [...this.#answers];
  }
}
