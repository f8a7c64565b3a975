/** How an attention is cut into dispatches whose operands fit a binding; and how much of each is in use. */
import type { Live } from "../gpu/kernel.ts";
import { ALIGNMENT, type EngineLimits, type Slice, type Tensor } from "../gpu/tensor.ts";

/** Queries whose share of a key's gradient is summed before the next query head's: part of the canonical order. */
const BLOCK = 64;
/** Each is several dispatches in every layer: more would be recorded, and bound, for minutes. */
const MAX_PIECES = 2 ** 14;

export interface AttentionShape {
  readonly batch: number; // B
  readonly columns: number; // T
  readonly numHeads: number; // NH
  readonly numKvHeads: number; // NK
  readonly headDim: number; // HS
  /** Whose keys: the tokens' own, the encoder's, or those of a cache; and how many there are to a sample, S. */
  readonly keys: { readonly of: "own" | "source" | "cache"; readonly rows: number };
  /** No query sees a key behind itself: half of the tiles need not be looked at. */
  readonly causal: boolean;
  /** A query sees only the last `window` of its keys, itself included. null: all. */
  readonly window?: number | null;
}

/** What a series of dispatches covers, by the names of the shader's uniforms. */
export interface Piece {
  /** Key heads of all samples, numbered sample * NK + head. */
  readonly first_kv: number;
  readonly kvs: number;
  /** Of the query heads that read each key head. */
  readonly first_member: number;
  readonly members: number;
  readonly first_query: number;
  readonly rows: number;
  /** The first key that the queries' products look at, a multiple of 64: those before it are outside of their band. */
  readonly first_key: number;
}

/** Some keys of a sample. */
export interface KeyWindow {
  readonly key0: number;
  readonly keys: number;
}

export interface AttentionPlan {
  /** Kernels take heads from rows of tokens as they are; otherwise from copies, (B, heads, T or S, HS). */
  readonly inRows: boolean;
  /** In the order of the sums. */
  readonly pieces: readonly Piece[];
  /** All keys, in windows. */
  readonly keyWindows: readonly KeyWindow[];
  /** Elements of a query in the scratch. */
  readonly pitch: number;
}

/**
 * Plans an attention. Rows of tokens are taken as they are if all of them fit a binding. Where they or the products
 * don't, dispatches cover fewer heads, then fewer queries, then fewer keys; the order of the sums stays the same.
 *
 * @param operands queries, keys and values: rows of tokens
 * @param numBuckets sums that the gradient of a bias keeps for each query
 * @throws RangeError if the products of a single query with its keys do not fit, or the spans
 */
export function planAttention(
  limits: EngineLimits,
  shape: AttentionShape,
  operands: readonly Tensor[],
  numBuckets: number,
): AttentionPlan {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS, keys: { rows: S } } = shape;
  const room = Math.floor((limits.maxBinding - ALIGNMENT) / 4);
  const GROUP = NH / NK;
  const numBlocks = Math.ceil(columns / BLOCK);
  const blockKeys = Array.from({ length: numBlocks }, (_, block) => {
    return lastKey(shape, block * BLOCK, BLOCK) - firstKey(shape, block * BLOCK);
  });
  const pitch = Math.ceil(Math.max(...blockKeys) / 4) * 4;
  const perQuery = Math.max(pitch, numBuckets);
  const inRows = Math.max(batch * columns * NH * HS, ...operands.map(({ size }) => size)) <= room;
  const mostRows = Math.min(BLOCK, columns);
  const mostKeys = Math.ceil(S / 4) * 4 * HS <= room ? S : keysThatFit(room, HS);

  const fits = (kvs: number, members: number, rows: number) => {
    const heads = (kvs - 1) * GROUP + members;
    const isWithin = inRows || ((heads - 1) * columns + rows) * HS <= room;
    const keysFit = kvs === 1 || kvs * Math.ceil(S / 4) * 4 * HS <= room;
    return isWithin && keysFit && kvs * members * rows * perQuery <= room;
  };
  const most = (limit: number, test: (count: number) => boolean) => {
    let count = 1;
    while (count < limit && test(count + 1)) count++;
    return count;
  };
  let rows = mostRows;
  while (rows > 1 && !fits(1, 1, rows)) rows = Math.floor(rows / 2);
  const members = rows < mostRows ? 1 : most(GROUP, (count) => fits(1, count, rows));
  const kvs = members < GROUP ? 1 : most(batch * NK, (count) => fits(count, members, rows));

  const needed: readonly (readonly [what: string, elements: number])[] = [
    [`One query's products with ${S} keys`, perQuery],
    [`The spans of ${batch} rows of ${columns} tokens`, 2 * batch * columns],
  ];
  for (const [what, elements] of needed) {
    if (elements > room) {
      throw new RangeError(`${what} take ${elements * 4} bytes, more than a binding holds (${room * 4})`);
    }
  }
  const count = Math.ceil(batch * NK / kvs) * numBlocks * Math.ceil(GROUP / members) *
    Math.ceil(mostRows / rows);
  if (count > MAX_PIECES) {
    throw new RangeError(
      `Attention of ${batch} rows of ${columns} tokens comes in ${count} pieces of at most ${limits.maxBinding} bytes, ` +
        `expected at most ${MAX_PIECES}; fewer rows (train.microBatchSize) or tokens (model.seqLen) help`,
    );
  }
  const pieces: Piece[] = [];
  for (const [first_kv, kvsHere] of windows(batch * NK, kvs)) {
    for (const [block, blockRows] of windows(columns, BLOCK)) {
      for (const [first_member, membersHere] of windows(GROUP, members)) {
        for (const [row, rowsHere] of windows(blockRows, rows)) {
          pieces.push({
            ...{ first_kv, kvs: kvsHere, first_member, members: membersHere },
            ...{ first_query: block + row, rows: rowsHere, first_key: firstKey(shape, block + row) },
          });
        }
      }
    }
  }
  const keyWindows = [...windows(S, mostKeys)].map(([key0, keys]) => ({ key0, keys }));
  return { inRows, pieces, keyWindows, pitch };
}

/** (start, length) of each window. */
function* windows(count: number, size: number): Generator<[number, number]> {
  for (let start = 0; start < count; start += size) yield [start, Math.min(size, count - start)];
}

/** Windows of keys don't cut tiles of 64. */
function keysThatFit(room: number, HS: number): number {
  const fit = Math.floor(room / HS);
  if (fit < 4) {
    throw new RangeError(
      `Four keys of ${HS} values take ${16 * HS} bytes, more than a binding holds (${room * 4})`,
    );
  }
  return fit < BLOCK ? 2 ** Math.floor(Math.log2(fit)) : fit - fit % BLOCK;
}

function firstKey({ causal, window }: AttentionShape, firstQuery: number): number {
  if (!causal || !window) return 0;
  return Math.floor(Math.max(0, firstQuery + 1 - window) / BLOCK) * BLOCK;
}

/** Behind the last key that some queries may see. */
function lastKey({ causal, keys, columns }: AttentionShape, firstQuery: number, rows: number): number {
  return causal && keys.of === "own" ? Math.min(firstQuery + rows, columns) : keys.rows;
}

/** The windows of keys that a piece's queries may see, and where each begins in a window of the plan. */
export function keyWindowsOf(
  shape: AttentionShape,
  { keyWindows }: AttentionPlan,
  { first_query, rows, first_key }: Piece,
): (KeyWindow & { readonly inWindow: KeyWindow; readonly index: number })[] {
  const end = lastKey(shape, first_query, rows);
  return keyWindows.flatMap((inWindow, index) => {
    const key0 = Math.max(inWindow.key0, first_key);
    const keys = Math.min(inWindow.key0 + inWindow.keys, end) - key0;
    return keys > 0 ? [{ key0, keys, inWindow, index }] : [];
  });
}

/** Pairs of a query of a piece and a key that it may see, for reports. */
export function pairsSeen(shape: AttentionShape, piece: Piece): number {
  const { first_query, rows, kvs, members } = piece;
  let pairs = 0;
  for (let i = first_query; i < first_query + rows; i++) {
    pairs += shape.causal ? Math.min(i + 1, shape.window ?? Infinity) : shape.keys.rows;
  }
  return pairs * kvs * members;
}

/** Rows `row0` to `row0 + rows` of heads `first` to `first + heads`, in a tensor (.., heads, count, dim). */
interface HeadRows {
  readonly first: number;
  readonly heads: number;
  readonly count: number;
  readonly row0: number;
  readonly rows: number;
  readonly dim: number;
}

/** The stretch of a tensor from the first of these rows to the last one. */
export function headsSlice(tensor: Tensor, { first, heads, count, row0, rows, dim }: HeadRows): Slice {
  return { tensor, at: (first * count + row0) * dim, length: ((heads - 1) * count + rows) * dim };
}

/** Key heads of a piece in this step. */
export function kvsInUse({ numKvHeads }: AttentionShape, { first_kv, kvs }: Piece, live: Live): number {
  return Math.min(kvs, Math.max((live.batch ?? 0) * numKvHeads - first_kv, 0));
}

/** Queries of a piece in this step. */
export function rowsInUse({ first_query, rows }: Piece, live: Live): number {
  return Math.min(rows, Math.max((live.columns ?? 0) - first_query, 0));
}

/** Keys of a sample in this step. */
export function keyRowsInUse({ keys }: AttentionShape, live: Live): number {
  return { own: live.columns ?? 0, source: live.source ?? 0, cache: keys.rows }[keys.of];
}

/** Keys of a window that a piece's queries may see in this step. */
export function keysInUse(
  shape: AttentionShape,
  piece: Piece,
  { key0, keys }: KeyWindow,
  live: Live,
): number {
  const end = shape.causal
    ? (live.start ?? 0) + piece.first_query + rowsInUse(piece, live)
    : keyRowsInUse(shape, live);
  return Math.min(keys, Math.max(end - key0, 0));
}
