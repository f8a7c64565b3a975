/**
 * Arithmetic over float32 vectors in shared memory, in WebAssembly: what JavaScript adds at 1 GB/s, SIMD adds as fast
 * as memory delivers it. Addresses are in bytes, multiples of 4; IEEE 754 additions, the same bits everywhere.
 */
import { FACTOR, TURN_BYTES } from "../link/laneHash.ts";
import { assemble, type WasmFunction } from "./wasm.ts";

export interface Adder {
  /** How it adds: `scalar` where the runtime lacks WebAssembly SIMD. */
  readonly kind: "simd" | "scalar";
  /** out = a + b, `count` elements; `out` may be `a` or `b`. */
  add(out: number, a: number, b: number, count: number): void;
  /** Copies `bytes` from `at` to `out`; the two may overlap. */
  copy(out: number, at: number, bytes: number): void;
  /**
   * Adds `count` turns of 16 elements as `add` does, and takes the sums into the 16 lanes at `lanes`, in one pass.
   *
   * @returns 1 if any sum is infinite or NaN, else 0
   */
  addTurns(lanes: number, out: number, a: number, b: number, count: number): number;
  /** Rounds `count` elements to bfloat16 in place (to nearest, ties to even) and writes their upper halves to `out`. */
  packBf16(out: number, at: number, count: number): void;
  /** Widens `count` bfloat16 at `at`, which may be the upper half of what `out` covers. */
  unpackBf16(out: number, at: number, count: number): void;
  /** Takes `count` turns of 64 bytes into the 16 lanes at `lanes`, see laneHash.ts. */
  hashTurns(lanes: number, at: number, count: number): void;
}

/** @param memory shared, with a maximum of at most 65536 pages */
export function createAdder(memory: WebAssembly.Memory): Adder {
  const kind = WebAssembly.validate(modules.simd()) ? "simd" : "scalar";
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(modules[kind]()), { env: { memory } });
  return { kind, ...exports as unknown as Omit<Adder, "kind"> };
}

/** The kernels' bytes; `scalar` is there for tests, too: both give the same bits. */
export const modules = {
  simd: () => assemble(kernels(true)),
  scalar: () => assemble(kernels(false)),
} as const;

const EXPONENT = 0x7f800000;
const MIX_SHIFT = 16;
/** Elements that one turn of a vector loop takes: four vectors of four. */
const TURN = 16;
/** Byte offsets of those vectors. */
const VECTORS = [0, 16, 32, 48];

const each = (offsets: readonly number[], text: (offset: number) => string) => offsets.map(text).join("\n");

const advance = (bytes: number, pointers: readonly string[]) =>
  pointers.map((name) => `local.get ${name} i32.const ${bytes} i32.add local.set ${name}`).join("\n");

/** Repeats `body`, which moves `pointer` on, over the next `count & mask` items of 2 ** `shift` bytes. */
const loop = (pointer: string, mask: number, shift: number, body: string) => `
  local.get count i32.const ${mask} i32.and i32.const ${shift} i32.shl
  local.get ${pointer} i32.add local.set end
  block loop
    local.get ${pointer} local.get end i32.ge_u br_if 1
    ${body}
    br 0
  end end`;

/** Whole turns in vectors, then the rest one by one. */
const elementwise = (pointers: readonly string[], one: string, turn?: string) => `
  ${turn === undefined ? "" : loop(pointers[0], -TURN, 2, `${turn} ${advance(4 * TURN, pointers)}`)}
  ${loop(pointers[0], turn === undefined ? -1 : TURN - 1, 2, `${one} ${advance(4, pointers)}`)}`;

const addOne = `
  local.get out
  local.get a f32.load local.get b f32.load f32.add
  f32.store`;

const addTurn = each(
  VECTORS,
  (offset) => `
  local.get out
  local.get a v128.load offset=${offset} local.get b v128.load offset=${offset} f32x4.add
  v128.store offset=${offset}`,
);

/** A NaN is made quiet, since rounding could carry it into infinity. Else: half a last place, ties to even. */
const packOne = `
  local.get at i32.load local.tee bits i32.const 0x400000 i32.or
  local.get bits i32.const 0x7fff i32.add
  local.get bits i32.const 16 i32.shr_u i32.const 1 i32.and i32.add
  local.get bits i32.const 0x7fffffff i32.and i32.const ${EXPONENT} i32.gt_u
  select
  i32.const 0xffff0000 i32.and local.set bits
  local.get at local.get bits i32.store
  local.get out local.get bits i32.const 16 i32.shr_u i32.store16`;

const unpackOne = `
  local.get out local.get at i32.load16_u i32.const 16 i32.shl i32.store`;

/** Turns through lanes that are vectors, or single words; with `isSum`, of sums that are made on the way. */
function hashTurns(simd: boolean, isSum: boolean): WasmFunction {
  const bytes = simd ? 16 : 4;
  const offsets = Array.from({ length: TURN_BYTES / bytes }, (_, lane) => lane * bytes);
  const [type, vector, all, float] = simd
    ? ["v128", "i32x4", "v128", "f32x4"] as const
    : ["i32", "i32", "i32", "f32"] as const;
  const load = simd ? "v128.load" : "f32.load";
  const store = simd ? "v128.store" : "f32.store";
  const splat = simd ? "i32x4.splat" : "";
  const addOne = (offset: number) => `
    local.get at local.get a ${load} offset=${offset} local.get b ${load} offset=${offset} ${float}.add
    ${store} offset=${offset}`;
  const seekOne = `
    local.get word local.get exponents ${all}.and local.get exponents ${vector}.eq
    local.get founds ${all}.or local.set founds`;
  const takeOne = (offset: number) => `
    local.get at ${all}.load offset=${offset} local.set word
    ${isSum ? seekOne : ""}
    local.get lane${offset} local.get factor ${vector}.mul
    local.get word local.get word i32.const ${MIX_SHIFT} ${vector}.shr_u ${all}.xor
    ${vector}.add local.set lane${offset}`;
  const turn = each(offsets, (offset) => `${isSum ? addOne(offset) : ""} ${takeOne(offset)}`);
  return {
    parameters: ["lanes", "at", ...(isSum ? ["a", "b"] : []), "count"],
    locals: {
      ...{ end: "i32", word: type, factor: type },
      ...(isSum && { exponents: type, founds: type }),
      ...Object.fromEntries(offsets.map((offset) => [`lane${offset}`, type])),
    },
    ...(isSum && { result: "i32" as const }),
    body: `
      i32.const ${FACTOR} ${splat} local.set factor
      ${isSum ? `i32.const ${EXPONENT} ${splat} local.set exponents` : ""}
      ${each(offsets, (offset) => `local.get lanes ${all}.load offset=${offset} local.set lane${offset}`)}
      ${
      loop(
        "at",
        -1,
        Math.log2(TURN_BYTES),
        `${turn} ${advance(TURN_BYTES, ["at", ...(isSum ? ["a", "b"] : [])])}`,
      )
    }
      ${each(offsets, (offset) => `local.get lanes local.get lane${offset} ${all}.store offset=${offset}`)}
      ${isSum ? `local.get founds ${simd ? "v128.any_true" : ""}` : ""}`,
  };
}

function kernels(simd: boolean): Record<string, WasmFunction> {
  return {
    add: {
      parameters: ["out", "a", "b", "count"],
      locals: { end: "i32" },
      body: elementwise(["out", "a", "b"], addOne, simd ? addTurn : undefined),
    },
    copy: {
      parameters: ["out", "at", "bytes"],
      body: "local.get out local.get at local.get bytes memory.copy",
    },
    packBf16: {
      parameters: ["out", "at", "count"],
      locals: { end: "i32", bits: "i32" },
      body: loop("at", -1, 2, `${packOne} ${advance(4, ["at"])} ${advance(2, ["out"])}`),
    },
    unpackBf16: {
      parameters: ["out", "at", "count"],
      locals: { end: "i32" },
      body: loop("out", -1, 2, `${unpackOne} ${advance(4, ["out"])} ${advance(2, ["at"])}`),
    },
    hashTurns: hashTurns(simd, false),
    addTurns: hashTurns(simd, true),
  };
}
