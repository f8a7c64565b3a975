/**
 * GPT-2's alphabet: a printable character for every byte, so that byte strings can be written in JSON. Printable
 * Latin-1 stands for itself; the other 68 bytes, in ascending order, are U+0100 and up (space is Ġ).
 */

/** (256) the character of each byte. */
export const CHARACTERS: readonly string[] = makeAlphabet();

const BYTES: ReadonlyMap<string, number> = new Map(CHARACTERS.map((character, byte) => [character, byte]));

function makeAlphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}

/** A byte string in the alphabet. */
export function toAlphabet(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += CHARACTERS[byte];
  return text;
}

/** The bytes behind a token's text. A token with any character outside of the alphabet stands for its own UTF-8. */
export function fromAlphabet(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = BYTES.get(character);
    if (byte === undefined) return new TextEncoder().encode(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
