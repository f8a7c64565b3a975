/** A list of token ids that grows. */
export class IdList {
  #ids = new Int32Array(1024);
  #length = 0;

  push(id: number): void {
    if (this.#length === this.#ids.length) this.#grow(1);
    this.#ids[this.#length++] = id;
  }

  append(ids: Int32Array): void {
    if (this.#length + ids.length > this.#ids.length) this.#grow(ids.length);
    this.#ids.set(ids, this.#length);
    this.#length += ids.length;
  }

  #grow(extra: number): void {
    const larger = new Int32Array(Math.max(2 * this.#ids.length, this.#length + extra));
    larger.set(this.#ids);
    this.#ids = larger;
  }

  toArray(): Int32Array {
    return this.#ids.slice(0, this.#length);
  }
}
