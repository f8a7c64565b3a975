/**
 * As much of protocol buffers as event files need: https://protobuf.dev/programming-guides/encoding.
 * A field is the varint (number << 3 | wire type), then its value.
 */
const VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5;

/** `value` is a whole number from 0 to 2^53. */
export function varintField(field: number, value: number): Uint8Array {
  return concat(tag(field, VARINT), varint(value));
}

export function bytesField(field: number, value: Uint8Array): Uint8Array {
  return concat(tag(field, BYTES), varint(value.length), value);
}

export function doubleField(field: number, value: number): Uint8Array {
  return concat(tag(field, FIXED64), new Uint8Array(new Float64Array([value]).buffer));
}

export function floatField(field: number, value: number): Uint8Array {
  return concat(tag(field, FIXED32), new Uint8Array(new Float32Array([value]).buffer));
}

/** The value of a varint field of a message, or undefined if the message lacks it. */
export function readVarintField(message: Uint8Array, field: number): number | undefined {
  for (let at = 0; at < message.length;) {
    const [key, start] = readVarint(message, at);
    const [value, end] = readVarint(message, start);
    const wire = key & 7;
    if (wire === VARINT && key >>> 3 === field) return value;
    if (wire === VARINT) at = end;
    else if (wire === BYTES) at = end + value;
    else if (wire === FIXED64) at = start + 8;
    else if (wire === FIXED32) at = start + 4;
    else throw new Error(`Wire type ${wire} is none of an event file`);
  }
  return undefined;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

const tag = (field: number, wire: number) => varint(field << 3 | wire);

/** Seven bits a byte, low ones first; the high bit says that more follow. Division, since a step may be past 32 bits. */
function varint(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${value} is no whole number from 0 to 2^53`);
  }
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return Uint8Array.of(...bytes, value);
}

function readVarint(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let scale = 1;; scale *= 128) {
    const byte = bytes[at++] ?? 0;
    value += (byte & 127) * scale;
    if (byte < 128) return [value, at];
  }
}
