import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";

const MAX_MEMBERS = 1_000_000;

/**
 * Reads JSON whose shape is known, value by value, and stops at the first thing that is not as expected.
 * JSON.parse will not do for a file from strangers: it keeps the last of two equal keys without a word, and turns
 * 100 MB of `{},{},` into gigabytes before anyone can look at it.
 */
export class JsonCursor {
  #at = 0;

  /** `what` names the text in error messages. */
  constructor(private readonly text: string, private readonly what: string) {}

  /** Calls `member` with each key; it must consume the value. */
  object(member: (key: string) => void): void {
    const seen = new Set<string>();
    this.#list("{", "}", MAX_MEMBERS, () => {
      const key = this.string();
      if (seen.has(key)) {
        throw new UserError(`${this.what} has the key ${quote(key)} twice; the file is damaged`);
      }
      seen.add(key);
      this.#expect(":");
      member(key);
    });
  }

  /** An array of at most `max` numbers. */
  numbers(max: number): number[] {
    const values: number[] = [];
    this.#list("[", "]", max, () => values.push(this.number()));
    return values;
  }

  number(): number {
    const pattern = /[-+.0-9eE]{1,40}/y;
    pattern.lastIndex = this.#skipSpace();
    const token = pattern.exec(this.text)?.[0] ?? this.fail("a number");
    const value = this.#parse(token, "a number");
    this.#at += token.length;
    return Number(value);
  }

  string(): string {
    const start = this.#skipSpace();
    if (this.text[start] !== '"') this.fail("a string");
    let end = start + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === "\\" ? 2 : 1;
    const value = this.#parse(this.text.slice(start, end + 1), "a string");
    this.#at = end + 1;
    return String(value);
  }

  /** Consumes a string, number, true, false or null. */
  skipScalar(): void {
    const literal = /true|false|null/y;
    literal.lastIndex = this.#skipSpace();
    if (literal.test(this.text)) this.#at = literal.lastIndex;
    else if (this.text[this.#at] === '"') this.string();
    else this.number();
  }

  end(): void {
    if (this.#skipSpace() < this.text.length) this.fail("its end");
  }

  fail(expected: string): never {
    const found = this.#at < this.text.length ? quote(this.text.slice(this.#at, this.#at + 20)) : "its end";
    throw new UserError(
      `${this.what} has ${found} at character ${this.#at}, expected ${expected}; the file is damaged or of another kind`,
    );
  }

  #list(open: string, close: string, max: number, item: () => void): void {
    this.#expect(open);
    if (this.#next(close)) return;
    for (let count = 1;; count++) {
      if (count > max) this.fail(`at most ${max} elements`);
      item();
      if (this.#next(close)) return;
      this.#expect(",");
    }
  }

  #expect(char: string): void {
    if (!this.#next(char)) this.fail(quote(char));
  }

  #next(char: string): boolean {
    const found = this.text[this.#skipSpace()] === char;
    if (found) this.#at++;
    return found;
  }

  #skipSpace(): number {
    while (" \n\r\t".includes(this.text[this.#at] ?? "end")) this.#at++;
    return this.#at;
  }

  #parse(token: string, expected: string): unknown {
    try {
      return JSON.parse(token);
    } catch {
      return this.fail(expected);
    }
  }
}
