/**
 * What devices say differently: kernels are written once, and a device's compiler gets them in its own dialect.
 */

/** Sums and broadcasts within a subgroup; granted by adapters that do not list it. */
export const SUBGROUPS = "subgroups" as GPUFeatureName;

/** They must be asked for in a shader by standard WGSL, and may not be by naga (Deno's own compiler). */
const ENABLE = "enable subgroups; ";

/** 64-bit integers in shaders: naga's extension, granted by adapters that do not list it. */
export const WIDE_WORDS = "wgpu-shader-int64" as GPUFeatureName;

export interface Dialect {
  /** What comes before a shader's first line, in the same line. */
  readonly before: string;
  /**
   * Four values are read as two words of 64 bits. A software driver loads each word of each lane by itself, with a
   * test of its bounds: half as many words, almost half the time. The bits are the same.
   */
  readonly hasWideWords: boolean;
}

const QUADS = {
  plain: `
alias Quad = vec4f;
fn values_of(q: Quad) -> vec4f { return q; }
fn quad_of(v: vec4f) -> Quad { return v; }`,
  wide: `
alias Quad = vec2<u64>;
fn values_of(q: Quad) -> vec4f {
  return vec4f(
    bitcast<f32>(u32(q.x)), bitcast<f32>(u32(q.x >> 32u)),
    bitcast<f32>(u32(q.y)), bitcast<f32>(u32(q.y >> 32u)),
  );
}
fn quad_of(v: vec4f) -> Quad {
  let b = bitcast<vec4u>(v);
  return vec2<u64>(u64(b.x) | (u64(b.y) << 32u), u64(b.z) | (u64(b.w) << 32u));
}`,
};

/** A kernel's code as a device's compiler wants it; lines keep their numbers. */
export function spoken(code: string, { before, hasWideWords }: Dialect): string {
  return before + code + (hasWideWords ? QUADS.wide : QUADS.plain);
}

/** Finds out by compiling: no feature says which compiler a device has. */
export async function probeDialect(device: GPUDevice): Promise<Dialect> {
  const hasWideWords = device.features.has(WIDE_WORDS);
  if (!device.features.has(SUBGROUPS)) return { before: "", hasWideWords };
  device.pushErrorScope("validation");
  device.createShaderModule({ code: `${ENABLE}@compute @workgroup_size(1) fn main() {}` });
  const refused = await device.popErrorScope();
  return { before: refused === null ? ENABLE : "", hasWideWords };
}
