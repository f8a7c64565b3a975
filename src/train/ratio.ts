/**
 * The ratio of two sums over rows and its standard error, rows taken as independent clusters (the ratio estimator,
 * Cochran 1977, "Sampling Techniques", chapter 6). Rows are added one by one and not kept.
 *
 * @example
 * ```ts
 * const loss = new Ratio(); // nats per token
 * loss.add(rowLoss, rowTokens);
 * ```
 */
export class Ratio {
  #rows = 0;
  #x = 0; // sums
  #y = 0;
  #xx = 0; // sums of products of deviations from the means
  #xy = 0;
  #yy = 0;

  /** Adds a row: its part of the upper sum, and of the lower. */
  add(x: number, y: number): void {
    const fromOldX = this.#rows === 0 ? 0 : x - this.#x / this.#rows;
    const fromOldY = this.#rows === 0 ? 0 : y - this.#y / this.#rows;
    this.#rows++;
    this.#x += x;
    this.#y += y;
    const fromNewX = x - this.#x / this.#rows;
    const fromNewY = y - this.#y / this.#rows;
    // Welford 1962: unlike sums of squares these don't cancel.
    this.#xx += fromOldX * fromNewX;
    this.#xy += fromOldX * fromNewY;
    this.#yy += fromOldY * fromNewY;
  }

  get rows(): number {
    return this.#rows;
  }

  /** The lower sum. */
  get total(): number {
    return this.#y;
  }

  get value(): number {
    return this.#x / this.#y;
  }

  /** Of `value`; NaN with fewer than two rows. */
  get standardError(): number {
    const { value } = this;
    const squares = Math.max(0, this.#xx - 2 * value * this.#xy + value ** 2 * this.#yy); // of x - value y
    return Math.sqrt(squares * this.#rows / (this.#rows - 1)) / this.#y;
  }
}
