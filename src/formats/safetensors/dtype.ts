/** Bytes of one element. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

export type Dtype = keyof typeof DTYPE_BYTES;

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(DTYPE_BYTES, name);
}

type FloatDtype = "F32" | "F16" | "BF16" | "F64";
type IntDtype = "I64" | "I32" | "U8" | "BOOL";

/** Raw little-endian bytes to float32. F64 is rounded. Every platform of Deno is little-endian. */
export const TO_FLOAT32: Record<FloatDtype, (raw: ArrayBuffer) => Float32Array<ArrayBuffer>> = {
  F32: (raw) => new Float32Array(raw),
  F16: (raw) => new Float32Array(new Float16Array(raw)),
  BF16: (raw) => new Float32Array(Uint32Array.from(new Uint16Array(raw), (bits) => bits << 16).buffer),
  F64: (raw) => new Float32Array(new Float64Array(raw)),
};

/** Raw little-endian bytes to int32. @throws RangeError for an I64 that does not fit. */
export const TO_INT32: Record<IntDtype, (raw: ArrayBuffer) => Int32Array<ArrayBuffer>> = {
  I64: narrow,
  I32: (raw) => new Int32Array(raw),
  U8: (raw) => new Int32Array(new Uint8Array(raw)),
  BOOL: (raw) => new Int32Array(new Uint8Array(raw)),
};

/** An int64 fits an int32 if its high word repeats the sign bit of its low word. */
function narrow(raw: ArrayBuffer): Int32Array<ArrayBuffer> {
  const words = new Int32Array(raw); // (n, [low, high])
  const values = new Int32Array(words.length / 2);
  for (let i = 0; i < values.length; i++) {
    const low = words[2 * i];
    if (words[2 * i + 1] !== low >> 31) {
      throw new RangeError(`element ${i} is ${new BigInt64Array(raw)[i]}, more than 32 bits hold`);
    }
    values[i] = low;
  }
  return values;
}
