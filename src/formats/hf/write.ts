import type { ModelSpec } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";
import type { TensorToWrite } from "../safetensors.ts";
import type { HfFamily, SpecialTokens } from "./family.ts";
import { type HfTensor, takePiece } from "./tensors.ts";

/** The types that weights are stored in, and what config.json calls them. */
export const STORED_DTYPES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;
export type StoredDtype = keyof typeof STORED_DTYPES;

/** The text of a config.json that transformers reads, in old and new versions. */
export function formatHfConfig(
  family: HfFamily,
  spec: ModelSpec,
  tokens: SpecialTokens,
  dtype: StoredDtype,
): string {
  const config = {
    architectures: [family.className],
    model_type: family.modelType,
    bos_token_id: tokens.bos_token_id ?? null,
    eos_token_id: tokens.eos_token_id ?? null,
    pad_token_id: tokens.pad_token_id ?? null,
    ...family.writeConfig(spec, tokens),
    use_cache: true,
    dtype: STORED_DTYPES[dtype],
    torch_dtype: STORED_DTYPES[dtype],
  };
  return JSON.stringify(config, null, 2);
}

/**
 * The tensors of a file, each made when its turn comes.
 *
 * @param read a parameter in our layout, by our name; it is asked for once for each of its pieces
 * @param dtypeOf what a parameter is stored in
 */
export function tensorsToWrite(
  tensors: readonly HfTensor[],
  read: (name: string) => Promise<Float32Array>,
  dtypeOf: (name: string) => StoredDtype = () => "F32",
): TensorToWrite[] {
  return tensors.flatMap((tensor) => {
    const dtype = dtypeOf(tensor.name);
    return tensor.pieces.map((piece) => ({
      name: piece.name,
      shape: piece.shape,
      dtype,
      values: async () => encodeValues(takePiece(tensor, piece, await read(tensor.name)), dtype, piece.name),
    }));
  });
}

/**
 * Rounds values to a type, to the nearest, ties to even: their raw little-endian bytes.
 *
 * @throws UserError for a finite value that is past what the type holds; `name` is the tensor's
 */
export function encodeValues(
  values: Float32Array,
  dtype: StoredDtype,
  name: string,
): Uint8Array {
  const past = values.find((value) => Number.isFinite(value) && Math.abs(value) >= LIMITS[dtype]);
  if (past !== undefined) {
    throw new UserError(
      `The tensor ${quote(name)} holds ${past}, more than ${
        STORED_DTYPES[dtype]
      } can; store the model as f32`,
    );
  }
  return ENCODERS[dtype](values);
}

/** What would be rounded to infinity. */
const LIMITS: Readonly<Record<StoredDtype, number>> = {
  F32: Infinity,
  F16: 65520,
  BF16: (2 - 2 ** -8) * 2 ** 127,
};

const ENCODERS: Readonly<
  Record<StoredDtype, (values: Float32Array) => Uint8Array>
> = {
  F32: (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  F16: (values) => new Uint8Array(new Float16Array(values).buffer),
  BF16(values) {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const rounded = Uint16Array.from(bits, (word, i) => {
      if (Number.isNaN(values[i])) return (word >>> 16) | 0x40; // carrying would make an infinity of it
      return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
    });
    return new Uint8Array(rounded.buffer);
  },
};
