/** For whom a member waits in a step: whose last frame came last. */

/** The peer whose last frame of a step came last. */
export interface Slowest {
  readonly peer: string;
  /** After this member's own sums were made. */
  readonly afterMs: number;
  /** After the last frame of any other peer, too. */
  readonly beyondMs: number;
}

/** When the last frame of each peer came. */
export class Arrivals {
  readonly #last = new Map<string, { readonly step: number; readonly at: number }>();

  /** @param at milliseconds of a clock that never goes back */
  note(peer: string, step: number, at: number): void {
    this.#last.set(peer, { step, at });
  }

  clear(): void {
    this.#last.clear();
  }

  /** @param readyAt when own sums were made @returns null: nothing came after that */
  slowest(step: number, readyAt: number): Slowest | null {
    const times = [...this.#last].filter(([, last]) => last.step === step).sort(([, a], [, b]) =>
      b.at - a.at
    );
    if (times.length === 0) return null;
    const [[peer, { at }], second] = times;
    const beyondMs = at - Math.max(second?.[1].at ?? readyAt, readyAt);
    return at <= readyAt ? null : { peer, afterMs: at - readyAt, beyondMs };
  }
}
