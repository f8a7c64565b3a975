import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import {
  openModelFolder,
  openSafetensors,
  parseSafetensors,
  writeSafetensors,
} from "../../src/formats/safetensors.ts";
import { FIXTURES, inTempDir } from "./support.ts";

/** A file with any header and a buffer of `bufferBytes` zeros. */
function fileOf(header: string | Uint8Array, bufferBytes: number, claimed?: bigint): Uint8Array {
  const bytes = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + bytes.length + bufferBytes);
  new DataView(file.buffer).setBigUint64(0, claimed ?? BigInt(bytes.length), true);
  file.set(bytes, 8);
  return file;
}

const entry = (shape: string, offsets: string, dtype = "F32") =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const one = (shape: string, offsets: string, dtype?: string) => `{"x":${entry(shape, offsets, dtype)}}`;

/** What is wrong, the file, part of the message. */
const HOSTILE: [string, Uint8Array, string][] = [
  ["empty file", new Uint8Array(), "has 0 bytes"],
  ["seven bytes", new Uint8Array(7), "has 7 bytes"],
  ["header past the file", fileOf("{}", 0, 3n), "claims a header of 3 bytes, expected at most 2"],
  ["header of 2^63 bytes", fileOf("{}", 0, 2n ** 63n), "claims a header"],
  ["header over the limit", fileOf("", 100_000_001, 100_000_001n), "expected at most 100000000"],
  ["header of no bytes", fileOf("", 8), 'its end at character 0, expected "{"'],
  ["header no JSON", fileOf("{x}", 0), "expected a string"],
  ["header an array", fileOf("[]", 0), 'expected "{"'],
  ["header a number", fileOf("1", 0), 'expected "{"'],
  ["header null", fileOf("null", 0), 'expected "{"'],
  ["header cut off", fileOf('{"x":{"dtype":"F32"', 0), "its end"],
  ["header cut off in a string", fileOf('{"x', 0), "expected a string"],
  ["header cut off after a backslash", fileOf('{"x\\', 0), "expected a string"],
  ["more after the header", fileOf("{}{}", 0), "expected its end"],
  ["a trailing comma", fileOf(`{"x":${entry("[]", "[0,4]")},}`, 4), "expected a string"],
  ["zeros as padding", fileOf("{}\0\0", 0), "expected its end"],
  ["header no UTF-8", fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 0), "not UTF-8"],
  ["byte order mark", fileOf("\ufeff{}", 0), 'expected "{"'],
  ["deep nesting", fileOf('{"x":' + "[".repeat(100_000), 0), 'expected "{"'],
  ["metadata of numbers", fileOf('{"__metadata__":{"a":1}}', 0), "expected a string"],
  ["metadata null", fileOf('{"__metadata__":null}', 0), 'expected "{"'],
  ["tensor a number", fileOf('{"x":1}', 0), 'expected "{"'],
  ["no dtype", fileOf('{"x":{"shape":[],"data_offsets":[0,4]}}', 4), "lacks dtype"],
  ["no shape", fileOf('{"x":{"dtype":"F32","data_offsets":[0,4]}}', 4), "lacks dtype, shape"],
  ["one offset", fileOf(one("[]", "[4]"), 4), "lacks"],
  ["three offsets", fileOf(one("[]", "[0,4,8]"), 4), "at most 2"],
  ["unknown dtype", fileOf(one("[]", "[0,4]", "F31"), 4), 'unknown dtype "F31", expected one of BOOL'],
  ["dtype of Object", fileOf(one("[]", "[0,4]", "constructor"), 4), "unknown dtype"],
  ["negative shape", fileOf(one("[-1]", "[0,4]"), 4), "expected whole numbers"],
  ["two negative dimensions", fileOf(one("[-1,-1]", "[0,4]"), 4), "expected whole numbers"],
  ["fractional shape", fileOf(one("[0.5,2]", "[0,4]"), 4), "expected whole numbers"],
  ["shape past 2^53", fileOf(one("[9007199254740993]", "[0,4]"), 4), "expected whole numbers"],
  ["infinite shape", fileOf(one("[1e999]", "[0,4]"), 4), "expected whole numbers"],
  ["overflowing shape", fileOf(one("[4294967296,4294967296,4294967296]", "[0,4]"), 4), "can be counted"],
  ["overflow hidden by a zero", fileOf(one("[4294967296,4294967296,0]", "[0,0]"), 0), "can be counted"],
  ["shape of words", fileOf(one('["1"]', "[0,4]"), 4), "expected a number"],
  ["shape no JSON number", fileOf(one("[01]", "[0,4]"), 4), "expected a number"],
  ["too many dimensions", fileOf(one(`[${"1,".repeat(64)}1]`, "[0,4]"), 4), "at most 64"],
  ["offsets too few for the shape", fileOf(one("[2]", "[0,4]"), 4), "(4 bytes), but F32 [2] takes 8 bytes"],
  ["offsets too many for the dtype", fileOf(one("[1]", "[0,4]", "F16"), 4), "takes 2 bytes"],
  ["offsets backwards", fileOf(one("[1]", "[4,0]"), 4), "(-4 bytes)"],
  ["offsets past the buffer", fileOf(one("[2]", "[0,8]"), 4), "take 8 bytes, but the file holds 4"],
  ["bytes that no tensor has", fileOf(one("[1]", "[0,4]"), 5), "take 4 bytes, but the file holds 5"],
  ["a hole in front", fileOf(one("[1]", "[4,8]"), 8), "leaves a hole"],
  ["a hole", fileOf(`{"x":${entry("[1]", "[0,4]")},"y":${entry("[1]", "[8,12]")}}`, 12), "leaves a hole"],
  ["overlap", fileOf(`{"x":${entry("[2]", "[0,8]")},"y":${entry("[1]", "[4,8]")}}`, 8), "overlaps"],
  [
    "a tensor twice",
    fileOf(`{"x":${entry("[1]", "[0,4]")},"x":${entry("[1]", "[4,8]")}}`, 8),
    'key "x" twice',
  ],
  [
    "a tensor twice in other letters",
    fileOf(`{"x":${entry("[1]", "[0,4]")},"\\u0078":${entry("[1]", "[0,4]")}}`, 4),
    'key "x" twice',
  ],
  [
    "a dtype twice",
    fileOf('{"x":{"dtype":"F32","dtype":"I32","shape":[],"data_offsets":[0,4]}}', 4),
    "twice",
  ],
  [
    "terminal escapes in a name",
    fileOf(`{"\\u009b2J\\n\\u202e":${entry("[]", "[0,4]", "F31")}}`, 4),
    "\\u{9b}2J",
  ],
];

for (const [fault, bytes, message] of HOSTILE) {
  Deno.test(`parseSafetensors() refuses: ${fault}`, () => {
    const error = assertThrows(() => parseSafetensors(bytes, "bad.safetensors"), UserError);
    assertStringIncludes(error.message, message);
    assertStringIncludes(error.message, "bad.safetensors");
    assertEquals(/[\p{C}\n]/u.test(error.message), false, "one line without control characters");
    assertEquals(error.message.length < 600, true);
  });
}

Deno.test("parseSafetensors() accepts what the format allows", () => {
  const spaced = ' { "x" : { "shape" : [ 1 , 0 ] , "data_offsets" : [ 0 , 0 ] , "dtype" : "F32" } } ';
  assertEquals(parseSafetensors(fileOf(spaced, 0)).tensors.get("x")?.shape, [1, 0]);
  const touching = `{"b":${entry("[1]", "[0,4]")},"none":${entry("[0]", "[0,0]")},"a":${
    entry("[1]", "[4,8]")
  }}`;
  assertEquals([...parseSafetensors(fileOf(touching, 8)).tensors.keys()], ["b", "none", "a"]);
  assertEquals(
    parseSafetensors(fileOf(`{"__proto__":${entry("[]", "[0,4]")}}`, 4)).read("__proto__").length,
    1,
  );
});

Deno.test("parseSafetensors() stops early in a header made to fill the memory", () => {
  const bytes = fileOf(`{"x":[${"{},".repeat(3_000_000)}{}]}`, 0);
  assertThrows(() => parseSafetensors(bytes), UserError, 'expected "{"');
});

Deno.test("openSafetensors() refuses a file cut off anywhere", () =>
  inTempDir((folder) => {
    const whole = Deno.readFileSync(join(FIXTURES, "study/learned-gelu/model.safetensors"));
    const path = join(folder, "cut.safetensors");
    for (const length of [0, 7, 8, 9, 500, 4000, whole.length - 1]) {
      Deno.writeFileSync(path, whole.subarray(0, length));
      assertThrows(() => openSafetensors(path), UserError, path);
    }
  }));

Deno.test("read() notices that the file became shorter", () =>
  inTempDir((folder) => {
    const path = join(folder, "model.safetensors");
    Deno.copyFileSync(join(FIXTURES, "study/learned-gelu/model.safetensors"), path);
    using file = openSafetensors(path);
    Deno.truncateSync(path, 5000);
    assertThrows(() => file.read("tok_emb"), UserError, "became shorter");
  }));

Deno.test("openSafetensors() refuses what is no file", () =>
  inTempDir((folder) => {
    assertThrows(() => openSafetensors(join(folder, "absent")), UserError, "Cannot read");
    assertThrows(() => openSafetensors(folder), UserError, "it is not a file");
  }));

Deno.test("openModelFolder() refuses a folder without a model, and an index that does not fit", () =>
  inTempDir(async (folder) => {
    const shard = "model-00001-of-00001.safetensors";
    const values = () => Promise.resolve(new Float32Array(1));
    await writeSafetensors(join(folder, shard), [{ name: "x", dtype: "F32", shape: [], values }]);
    assertThrows(() => openModelFolder(folder), UserError, "has neither model.safetensors nor");
    assertThrows(() => openModelFolder(join(folder, "absent")), UserError, "has neither");
    const refused: [string, string][] = [
      ['{"weight_map":{"x":"model-00002-of-00002.safetensors"}}', "which is not in the folder"],
      [`{"weight_map":{"x":"${shard}","y":"${shard}"}}`, 'says that "y" is in'],
      ['{"weight_map":{"x":"../../secret.safetensors"}}', "expected the name of a .safetensors file"],
      ['{"weight_map":{"x":"/etc/passwd"}}', "expected the name of a .safetensors file"],
      [`{"weight_map":{"x":"${shard}","x":"${shard}"}}`, 'key "x" twice'],
      ['{"weight_map":{"x":1}}', "expected a string"],
      ['{"weight_map":{}}', "names no tensors"],
      ['{"metadata":{}}', "names no tensors"],
      ['{"weights":{}}', 'expected "metadata" or "weight_map"'],
      ["", 'expected "{"'],
    ];
    for (const [index, message] of refused) {
      Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), index);
      assertThrows(() => openModelFolder(folder), UserError, message);
    }
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), `{"weight_map":{"x":"${shard}"}}`);
    Deno.truncateSync(join(folder, shard), 70);
    assertThrows(() => openModelFolder(folder), UserError, shard);
  }));

Deno.test("writeSafetensors() names a path that can't be written", () =>
  inTempDir(async (folder) => {
    await assertRejects(() => writeSafetensors(join(folder, "absent", "x"), []), UserError, "Cannot write");
    await assertRejects(() => writeSafetensors("/dev/full", []), UserError, "free space");
  }));
