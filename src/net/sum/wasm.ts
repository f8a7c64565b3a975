/**
 * An assembler for small WebAssembly modules: functions over one shared memory, in the flat text form of the
 * specification (https://webassembly.github.io/spec/core/text/instructions.html), with the instructions listed below.
 * It saves a build step and keeps the kernels' source where they are used.
 */

type ValueType = "i32" | "v128";

export interface WasmFunction {
  /** All are i32; the names serve `local.get` and its like. */
  readonly parameters: readonly string[];
  readonly locals?: Readonly<Record<string, ValueType>>;
  readonly result?: ValueType;
  readonly body: string;
}

const TYPES: Readonly<Record<ValueType, number>> = { i32: 0x7f, v128: 0x7b };
const FUNCTION = 0x60;
const BLOCK_WITHOUT_RESULT = 0x40;
const END = 0x0b;
const SIMD = 0xfd;

/** The instruction's bytes, and what follows it in the text. */
type Instruction = readonly [
  opcode: readonly number[],
  operand?: "local" | "depth" | "i32" | "memory",
];

const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  block: [[0x02, BLOCK_WITHOUT_RESULT]],
  loop: [[0x03, BLOCK_WITHOUT_RESULT]],
  end: [[END]],
  br: [[0x0c], "depth"],
  br_if: [[0x0d], "depth"],
  select: [[0x1b]],
  "local.get": [[0x20], "local"],
  "local.set": [[0x21], "local"],
  "local.tee": [[0x22], "local"],
  "i32.load": [[0x28], "memory"],
  "f32.load": [[0x2a], "memory"],
  "i32.load16_u": [[0x2f], "memory"],
  "i32.store": [[0x36], "memory"],
  "f32.store": [[0x38], "memory"],
  "i32.store16": [[0x3b], "memory"],
  "i32.const": [[0x41], "i32"],
  "i32.eq": [[0x46]],
  "i32.gt_u": [[0x4b]],
  "i32.ge_u": [[0x4f]],
  "i32.add": [[0x6a]],
  "i32.mul": [[0x6c]],
  "i32.and": [[0x71]],
  "i32.or": [[0x72]],
  "i32.xor": [[0x73]],
  "i32.shl": [[0x74]],
  "i32.shr_u": [[0x76]],
  "f32.add": [[0x92]],
  "memory.copy": [[0xfc, 0x0a, 0x00, 0x00]],
  "v128.load": [[SIMD, 0x00], "memory"],
  "v128.store": [[SIMD, 0x0b], "memory"],
  "i32x4.splat": [[SIMD, 0x11]],
  "i32x4.eq": [[SIMD, 0x37]],
  "v128.and": [[SIMD, 0x4e]],
  "v128.or": [[SIMD, 0x50]],
  "v128.xor": [[SIMD, 0x51]],
  "v128.any_true": [[SIMD, 0x53]],
  "i32x4.shr_u": [[SIMD, 0xad, 0x01]],
  "i32x4.add": [[SIMD, 0xae, 0x01]],
  "i32x4.mul": [[SIMD, 0xb5, 0x01]],
  "f32x4.add": [[SIMD, 0xe4, 0x01]],
};

/** The bytes of a module that imports the shared memory `env.memory` and exports `functions` by name. */
export function assemble(functions: Readonly<Record<string, WasmFunction>>): Uint8Array<ArrayBuffer> {
  const all = Object.entries(functions);
  const types = all.map(([, { parameters, result }]) => [
    FUNCTION,
    ...vector(parameters.map(() => [TYPES.i32])),
    ...vector(result === undefined ? [] : [[TYPES[result]]]),
  ]);
  const sharedMemory = [...text("env"), ...text("memory"), 0x02, 0x03, ...unsigned(1), ...unsigned(65536)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, [sharedMemory]),
    ...section(3, all.map((_, index) => unsigned(index))),
    ...section(7, all.map(([name], index) => [...text(name), 0x00, ...unsigned(index)])),
    ...section(10, all.map(([, each]) => sized(code(each)))),
  ]);
}

function code({ parameters, locals = {}, body }: WasmFunction): number[] {
  const names = [...parameters, ...Object.keys(locals)];
  const bytes = vector(Object.values(locals).map((type) => [1, TYPES[type]]));
  const tokens = body.trim().split(/\s+/);
  for (let token = tokens.shift(); token !== undefined; token = tokens.shift()) {
    const instruction = INSTRUCTIONS[token];
    if (instruction === undefined) throw new Error(`Unknown instruction ${token}`);
    const [opcode, operand] = instruction;
    bytes.push(...opcode);
    if (operand === "memory") {
      const offset = /^offset=(\d+)$/.exec(tokens[0] ?? "");
      if (offset !== null) tokens.shift();
      bytes.push(0x00, ...unsigned(Number(offset?.[1] ?? 0))); // aligned to a byte: a hint only
    } else if (operand !== undefined) {
      const text = tokens.shift() ?? "";
      if (operand === "local" && !names.includes(text)) throw new Error(`Unknown local ${text}`);
      if (operand === "local") bytes.push(...unsigned(names.indexOf(text)));
      else if (operand === "depth") bytes.push(...unsigned(Number(text)));
      else bytes.push(...signed(BigInt.asIntN(32, BigInt(text))));
    }
  }
  return [...bytes, END];
}

/** LEB128 (specification, 5.2.2). */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [value % 128 + 128, ...unsigned(Math.floor(value / 128))];
}

function signed(value: bigint): number[] {
  if (value >= -64n && value < 64n) return [Number(value & 127n)];
  return [Number(value & 127n) + 128, ...signed(value >> 7n)];
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function text(name: string): number[] {
  return sized([...new TextEncoder().encode(name)]);
}

function section(id: number, items: readonly (readonly number[])[]): number[] {
  return [id, ...sized(vector(items))];
}
