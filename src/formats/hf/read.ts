import { createHash } from "node:crypto";
import type { ModelSpec } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";
import type { TensorSource } from "../safetensors.ts";
import type { HfFamily } from "./family.ts";
import { type HfTensor, joinPieces, type Piece } from "./tensors.ts";

/** A parameter in our names and layout. */
export interface NamedValues {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array<ArrayBuffer>;
}

/** A model's weights in a file that has been checked. */
export interface StoredWeights {
  readonly tensors: readonly HfTensor[];
  /** What the file calls a piece. */
  nameOf(piece: Piece): string;
}

/**
 * Yields the weights in our names and layout, one parameter at a time.
 *
 * @throws UserError as `findWeights`, before the first is read
 */
export function* readWeights(
  source: TensorSource,
  family: HfFamily,
  spec: ModelSpec,
): Generator<NamedValues> {
  const { tensors, nameOf } = findWeights(source, family, spec);
  for (const tensor of tensors) {
    const values = joinPieces(tensor, (piece) => source.readParts(nameOf(piece)));
    yield { name: tensor.name, shape: tensor.shape, values };
  }
}

/**
 * Finds the weights of a model in a file that writes names with the family's prefix or without. Masks and tables that
 * old versions stored are passed over, and so are copies of the word embedding.
 *
 * @throws UserError for a tensor that is missing, unknown, there twice, of another shape, or no copy where it should be
 */
export function findWeights(source: TensorSource, family: HfFamily, spec: ModelSpec): StoredWeights {
  const tensors = family.tensors(spec);
  const pieces = tensors.flatMap((tensor) => tensor.pieces);
  const usual = (name: string) => {
    const bare = name.startsWith(family.prefix) ? name.slice(family.prefix.length) : name;
    return Object.hasOwn(family.aliases, bare) ? family.aliases[bare] : bare; // a file may name a tensor `constructor`
  };
  const stored = new Map<string, string>(); // usual name to name in the file
  for (const name of source.tensors.keys()) {
    const other = stored.get(usual(name));
    if (other !== undefined) {
      throw new UserError(`${quote(source.name)} has both ${quote(other)} and ${quote(name)}; remove one`);
    }
    stored.set(usual(name), name);
  }
  const nameOf = (piece: Piece) => stored.get(usual(piece.name)) ?? piece.name;

  for (const piece of pieces) expectPiece(source, piece, nameOf(piece));
  const known = new Set(pieces.map(({ name }) => usual(name)));
  for (const [name, storedName] of stored) {
    if (known.has(name) || family.ignored.test(name)) continue;
    if (!family.copies.includes(name)) {
      throw new UserError(
        `${quote(source.name)} has the tensor ${
          quote(storedName)
        }, which a ${family.modelType} model of this config lacks`,
      );
    }
    const embedding = nameOf(tensors[0].pieces[0]);
    if (hashOf(source, storedName) !== hashOf(source, embedding)) {
      throw new UserError(
        `${quote(source.name)} has a ${quote(storedName)} that differs from ${
          quote(embedding)
        }, but config.json ` +
          "ties them; set tie_word_embeddings to false if they are two",
      );
    }
  }
  return { tensors, nameOf };
}

function expectPiece(source: TensorSource, { shape }: Piece, name: string): void {
  const found = source.tensors.get(name);
  if (found === undefined) {
    throw new UserError(
      `${quote(source.name)} lacks the tensor ${quote(name)}, expected with shape [${shape}]`,
    );
  }
  if (String(found.shape) !== String(shape)) {
    throw new UserError(
      `The tensor ${quote(name)} of ${
        quote(source.name)
      } has shape [${found.shape}], config.json asks for [${shape}]`,
    );
  }
}

/** A hash in place of the bytes, so that neither of two tensors need be in memory. */
function hashOf(source: TensorSource, name: string): string {
  const hash = createHash("sha256");
  for (const part of source.readByteParts(name)) hash.update(part);
  return hash.digest("hex");
}
