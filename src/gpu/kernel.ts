/**
 * A kernel: a shader template with its constants filled in. What it reads and writes is declared in the shader, so
 * the plan knows it from there and from nowhere else.
 */
import { type Constants, expand, type TemplateFile } from "./template.ts";

/** `write` promises that every element a later dispatch reads is overwritten without being read. */
export type Access = "read" | "write" | "read_write";

export interface TensorSlot {
  readonly name: string;
  readonly access: Access;
}

export interface UniformField {
  readonly name: string;
  readonly type: "u32" | "f32";
}

export interface Kernel {
  /** File and constants: equal for equal code. */
  readonly key: string;
  readonly code: string;
  /** Where each line of the code comes from, for error messages. */
  readonly origins: readonly string[];
  readonly slots: readonly TensorSlot[];
  /** The dispatch's own fields; the offsets `at_<tensor>` follow them. */
  readonly fields: readonly UniformField[];
}

/** What of a step is known only when it runs: the same for all dispatches of a submit; `live.rows` in a shader. */
export const LIVE_FIELDS = [
  ["rows", "u32"], // rows of the micro-batch times columns: B * T
  ["batch", "u32"], // B
  ["columns", "u32"], // T
  ["start", "u32"], // position of the first column (tokens already in the cache)
  ["step", "u32"],
  ["distinct", "u32"], // number of distinct token ids among the inputs
  ["slot", "u32"], // where in the ring the results of this step go
  ["last", "u32"], // the row whose logits are wanted
  ["learningRate", "f32"],
  ["correction1", "f32"], // AdamW: 1 / (1 - beta1^t)
  ["correction2", "f32"], // AdamW: 1 / (1 - beta2^t)
  ["freshShare", "f32"], // Adafactor: 1 - beta2(t), what a step counts for in the second moment
  ["source", "u32"], // S, columns of the encoder's rows
  ["distinctPlaces", "u32"], // number of distinct places among the inputs
] as const;

export type LiveName = (typeof LIVE_FIELDS)[number][0];
/** The values of a submit; what is left out is 0. */
export type Live = Partial<Record<LiveName, number>>;
export const LIVE_BYTES = LIVE_FIELDS.length * 4;
/** Rows of a decoder and those of an encoder each have theirs, this far apart. */
export const LIVE_STRIDE = 256;
export const STACKS = 2;

/** Binding numbers: 0 the step's inputs, 1 the dispatch's uniforms, then the tensors. */
export const FIRST_TENSOR_BINDING = 2;

const liveStruct = [
  "struct Live {",
  ...LIVE_FIELDS.map(([name, type]) => `  ${name}: ${type},`),
  "}",
  "@group(0) @binding(0) var<uniform> live: Live;",
];

/**
 * The declarations of a shader and the code they stand for.
 *
 * `threads 64` says how many threads a workgroup has and calls the shader's `kernel(group, thread)`: workgroups are
 * numbered in one row, though their grid is folded into two dimensions where there are many.
 *
 * `tensor x : read` gives load_x(i); `: read_write` and `: write` give store_x(i, value) too; `vec4` after the access
 * gives load4_x(i), store4_x(i, value), with i counting groups of four. All shaders read and write through these, so
 * that another storage type changes no shader. Offsets of the bound window are added here. How an adapter reads a
 * group of four (`Quad`, `values_of`, `quad_of`) is added when it compiles the kernel: dialect.ts.
 */
function declarations() {
  const slots: TensorSlot[] = [];
  const fields: UniformField[] = [];

  function tensor(rest: string): string[] {
    const match = /^(\w+)\s*:\s*(read_write|read|write)(?:\s+(vec4|f32|u32|i32))?$/.exec(rest);
    if (match === null) {
      throw new Error(`expected "tensor name : access [vec4|f32|u32|i32]", found "tensor ${rest}"`);
    }
    const [, name, access, form = "f32"] = match;
    const binding = FIRST_TENSOR_BINDING + slots.length;
    slots.push({ name, access: access as Access });
    const mode = access === "read" ? "read" : "read_write";
    const isQuad = form === "vec4";
    const [suffix, type, held] = isQuad ? ["4", "vec4f", "Quad"] : ["", form, form];
    const element = isQuad ? `data_${name}[(u.at_${name} >> 2u) + i]` : `data_${name}[u.at_${name} + i]`;
    const [read, written] = isQuad ? [`values_of(${element})`, "quad_of(value)"] : [element, "value"];
    const lines = [
      `@group(0) @binding(${binding}) var<storage, ${mode}> data_${name}: array<${held}>;`,
      `fn load${suffix}_${name}(i: u32) -> ${type} { return ${read}; }`,
    ];
    if (mode === "read_write") {
      lines.push(`fn store${suffix}_${name}(i: u32, value: ${type}) { ${element} = ${written}; }`);
    }
    return lines;
  }

  function uniforms(rest: string): string[] {
    for (const word of rest.split(/\s+/).filter(Boolean)) {
      const [name, type = "u32"] = word.split(":");
      if (type !== "u32" && type !== "f32") throw new Error(`expected u32 or f32, found "${word}"`);
      fields.push({ name, type });
    }
    return [];
  }

  function threads(rest: string): string[] {
    return [
      `@compute @workgroup_size(${rest})`,
      "fn main(",
      "  @builtin(workgroup_id) id: vec3u,",
      "  @builtin(num_workgroups) count: vec3u,",
      "  @builtin(local_invocation_index) thread: u32,",
      ") { kernel(id.y * count.x + id.x, thread); }",
    ];
  }

  const known: Readonly<Record<string, (rest: string) => string[]>> = { tensor, uniforms, threads };
  return {
    slots,
    fields,
    declare: (directive: string, rest: string) => known[directive]?.(rest) ?? null,
  };
}

/** A shader file that makes kernels: one for each set of constants, kept. */
export class KernelSource {
  readonly #file: TemplateFile;
  readonly #includes: ReadonlyMap<string, TemplateFile>;
  readonly #kernels = new Map<string, Kernel>();

  constructor(name: string, text: string, includes: readonly TemplateFile[] = []) {
    this.#file = { name, text };
    this.#includes = new Map(includes.map((file) => [file.name.replace(/\.wgsl$/, ""), file]));
  }

  /** @throws Error that names file and line of a mistake in the template. */
  kernel(constants: Constants = {}): Kernel {
    const key = `${this.#file.name} ${JSON.stringify(constants)}`;
    let kernel = this.#kernels.get(key);
    if (kernel === undefined) {
      const { slots, fields, declare } = declarations();
      const body = expand(this.#file, constants, this.#includes, declare);
      const uniforms = [
        "struct Uniforms {",
        ...fields.map(({ name, type }) => `  ${name}: ${type},`),
        ...slots.map(({ name }) => `  at_${name}: u32,`),
        "}",
        "@group(0) @binding(1) var<uniform> u: Uniforms;",
      ];
      const prelude = [...liveStruct, ...uniforms];
      kernel = {
        key,
        code: [...prelude, ...body.lines].join("\n"),
        origins: [...prelude.map(() => "prelude"), ...body.origins],
        slots,
        fields,
      };
      this.#kernels.set(key, kernel);
    }
    return kernel;
  }
}
