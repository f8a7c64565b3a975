import type { ModelSpec } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";
import type { TensorToWrite } from "../safetensors.ts";
import type { HfFamily } from "./family.ts";
import type { SpecialTokens } from "./specialTokens.ts";
import { type HfTensor, takePiece } from "./tensors.ts";

/** The types that weights are stored in, and what config.json calls them. */
export const STORED_DTYPES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;
export type StoredDtype = keyof typeof STORED_DTYPES;

/** The text of a config.json that transformers reads, in old and new versions. */
export function formatHfConfig(
  family: HfFamily,
  spec: ModelSpec,
  tokens: Partial<SpecialTokens>,
  dtype: StoredDtype,
): string {
  const config = {
    architectures: [family.className],
    model_type: family.modelType,
    bos_token_id: tokens.bos_token_id ?? null,
    eos_token_id: tokens.eos_token_id ?? null,
    pad_token_id: tokens.pad_token_id ?? null,
    ...(spec.numEncoderLayers > 0 && { decoder_start_token_id: tokens.decoder_start_token_id ?? null }),
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
 * @param read a parameter in our layout, by our name; it is asked for once and held until its last piece is made
 * @param dtypeOf what a parameter is stored in
 */
export function tensorsToWrite(
  tensors: readonly HfTensor[],
  read: (name: string) => Promise<Float32Array>,
  dtypeOf: (name: string) => StoredDtype = () => "F32",
): TensorToWrite[] {
  return tensors.flatMap((tensor) => {
    const dtype = dtypeOf(tensor.name);
    const readOnce = shared(() => read(tensor.name), tensor.pieces.length);
    return tensor.pieces.map((piece) => ({
      name: piece.name,
      shape: piece.shape,
      dtype,
      values: async () => encodeValues(takePiece(tensor, piece, await readOnce()), dtype, piece.name),
    }));
  });
}

/** Reads for a number of calls at once: pieces of a parameter are written near one another. */
function shared<T>(read: () => Promise<T>, calls: number): () => Promise<T> {
  let held: Promise<T> | null = null;
  let done = 0;
  return () => {
    const result = held ?? read();
    done = (done + 1) % calls;
    held = done === 0 ? null : result;
    return result;
  };
}

/**
 * Rounds values to a type, to the nearest, ties to even: their raw little-endian bytes.
 *
 * @throws UserError for a finite value that is past what the type holds; `name` is the tensor's
 */
export function encodeValues(values: Float32Array, dtype: StoredDtype, name: string): Uint8Array {
  if (dtype === "F32") return bytesOf(values);
  const past = values.find((value) =>
    Number.isFinite(value) && Math.abs(value) >= ROUNDED_TO_INFINITY[dtype]
  );
  if (past !== undefined) {
    throw new UserError(
      `The tensor ${quote(name)} holds ${past}, more than ${
        STORED_DTYPES[dtype]
      } can; store the model as f32`,
    );
  }
  return bytesOf(dtype === "F16" ? new Float16Array(values) : bfloat16(values));
}

const ROUNDED_TO_INFINITY = { F16: 65520, BF16: (2 - 2 ** -8) * 2 ** 127 };

/** The upper halves of float32 values, after rounding. */
function bfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rounded = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const upper = bits[i] >>> 16;
    // A carry would make an infinity of some NaN.
    rounded[i] = Number.isNaN(values[i]) ? upper | 0x40 : (bits[i] + 0x7fff + (upper & 1)) >>> 16;
  }
  return rounded;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
