import { join } from "@std/path";
import { UserError } from "../../errors.ts";
import { fileSource, quote } from "../file.ts";
import { MAX_HEADER_BYTES, type TensorInfo } from "./header.ts";
import { JsonCursor } from "./jsonCursor.ts";
import { openSafetensors, type TensorSource } from "./read.ts";

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Does a folder have weights, or name some? */
export function hasModelWeights(folder: string): boolean {
  return exists(join(folder, WHOLE)) || exists(join(folder, INDEX));
}

/**
 * Opens the weights of a Hugging Face model folder: `model.safetensors`, or the shards that
 * `model.safetensors.index.json` names, as if they were one file.
 * @throws UserError if there is neither, a file is damaged, or the index names a shard or tensor that is not there.
 */
export function openModelFolder(folder: string): TensorSource {
  if (exists(join(folder, WHOLE))) return openSafetensors(join(folder, WHOLE));
  if (exists(join(folder, INDEX))) return openShards(folder);
  throw new UserError(
    `${quote(folder)} has neither ${WHOLE} nor ${INDEX}; name a folder with a model in safetensors`,
  );
}

function openShards(folder: string): TensorSource {
  const indexPath = join(folder, INDEX);
  const weightMap = readIndex(indexPath);
  const stack = new DisposableStack();
  try {
    const shards = new Map<string, TensorSource>();
    for (const shard of new Set(weightMap.values())) {
      const path = join(folder, shard);
      if (!exists(path)) {
        throw new UserError(
          `${quote(indexPath)} names ${quote(shard)}, which is not in the folder; get that shard too`,
        );
      }
      shards.set(shard, stack.use(openSafetensors(path)));
    }
    const tensors = new Map<string, TensorInfo>();
    for (const [tensor, shard] of weightMap) {
      const info = shards.get(shard)?.tensors.get(tensor);
      if (!info) {
        throw new UserError(
          `${quote(indexPath)} says that ${quote(tensor)} is in ${
            quote(shard)
          }, which lacks it; get both files again`,
        );
      }
      tensors.set(tensor, info);
    }
    const owned = stack.move();
    const shardOf = (tensor: string) => {
      const shard = shards.get(weightMap.get(tensor) ?? "");
      if (!shard) {
        throw new UserError(
          `${quote(folder)} has no tensor ${quote(tensor)}; check that it is the right model`,
        );
      }
      return shard;
    };
    return {
      name: folder,
      metadata: Object.assign({}, ...shards.values().map((shard) => shard.metadata)),
      tensors,
      read: (tensor) => shardOf(tensor).read(tensor),
      readInt: (tensor) => shardOf(tensor).readInt(tensor),
      readBytes: (tensor) => shardOf(tensor).readBytes(tensor),
      readParts: (tensor) => shardOf(tensor).readParts(tensor),
      readByteParts: (tensor) => shardOf(tensor).readByteParts(tensor),
      [Symbol.dispose]: () => owned.dispose(),
    };
  } finally {
    stack.dispose(); // empty if all went well
  }
}

/** `{"metadata": {"total_size": 1}, "weight_map": {"tensor": "shard"}}` -> tensor to shard. */
function readIndex(path: string): Map<string, string> {
  using source = fileSource(path);
  const name = quote(path);
  if (source.size > MAX_HEADER_BYTES) {
    throw new UserError(
      `${name} has ${source.size} bytes, expected at most ${MAX_HEADER_BYTES}; it is no such index`,
    );
  }
  const cursor = new JsonCursor(new TextDecoder().decode(source.read(0, new Uint8Array(source.size))), name);
  const weightMap = new Map<string, string>();
  cursor.object((key) => {
    if (key === "weight_map") {
      cursor.object((tensor) => weightMap.set(tensor, shardName(cursor.string(), name)));
    } else if (key === "metadata") cursor.object(() => cursor.skipScalar());
    else cursor.fail('"metadata" or "weight_map"');
  });
  cursor.end();
  if (weightMap.size === 0) {
    throw new UserError(`${name} names no tensors, expected a weight_map; get the file again`);
  }
  return weightMap;
}

/** A shard lies beside its index: a path would let an index from strangers name any file of the machine. */
function shardName(shard: string, index: string): string {
  if (!/^[\w.-]+\.safetensors$/.test(shard)) {
    throw new UserError(
      `${index} names the shard ${quote(shard)}, expected the name of a .safetensors file beside it`,
    );
  }
  return shard;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
