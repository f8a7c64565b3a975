import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";
import type { StreamedTensor } from "../safetensors.ts";
import { byteLengthOf } from "../safetensors/header.ts";

/** The files of a model's weights, and the text of model.safetensors.index.json, which a single file needs not. */
export interface Shards {
  readonly files: ReadonlyMap<string, readonly StreamedTensor[]>;
  readonly index: string | null;
}

/**
 * Distributes tensors, in their order, over files that are no larger than a number of bytes, header apart; a tensor that
 * is larger by itself gets a file of its own.
 */
export function shard(tensors: readonly StreamedTensor[], maxBytes: number): Shards {
  const shards: StreamedTensor[][] = [[]];
  let [inShard, total] = [0, 0];
  for (const tensor of tensors) {
    const bytes = byteLengthOf(tensor.dtype, tensor.shape);
    if (inShard > 0 && inShard + bytes > maxBytes) {
      shards.push([]);
      inShard = 0;
    }
    shards[shards.length - 1].push(tensor);
    inShard += bytes;
    total += bytes;
  }
  if (shards.length === 1) return { files: new Map([["model.safetensors", tensors]]), index: null };
  const padded = (n: number) => String(n).padStart(5, "0");
  const files = new Map(
    shards.map((part, i) => [`model-${padded(i + 1)}-of-${padded(shards.length)}.safetensors`, part]),
  );
  const weightMap = [...files].flatMap(([file, part]) => part.map(({ name }) => [name, file]));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
  return { files, index: JSON.stringify(index, null, 2) };
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

/** `5GB`, `500 MB` or `2GiB` in bytes. @throws UserError for other text */
export function parseByteSize(text: string): number {
  const [, count, unit = "B"] = /^(\d+(?:\.\d+)?) *([KMG]?i?B)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(count) * (UNITS[unit.toUpperCase()] ?? NaN));
  if (bytes > 0) return bytes;
  throw new UserError(`Found the size ${quote(text)}, expected one such as "5GB", "500MB" or "2GiB"`);
}
