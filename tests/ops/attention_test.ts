import { assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Live } from "../../src/gpu/kernel.ts";
import { place } from "../../src/gpu/place.ts";
import { Runtime } from "../../src/gpu/program.ts";
import { Arena, type EngineLimits, Tensor } from "../../src/gpu/tensor.ts";
import { appendToCache, attention, type AttentionOptions } from "../../src/ops/attention.ts";
import { addInto } from "../../src/ops/add.ts";
import { type AttentionShape, planAttention } from "../../src/ops/attentionPlan.ts";
import { Graph } from "../../src/ops/graph.ts";
import { normals, Stream } from "../../src/random.ts";
import { testGpu } from "../_gpu.ts";

const LIMITS: EngineLimits = {
  maxBinding: 2 ** 27,
  maxBuffer: 2 ** 30,
  maxGroups: 65535,
  workgroupMemory: 32768,
  workgroupSize: 256,
  subgroupSize: 8,
  isSoftware: true,
};

const [B, S, NH, NK, HS] = [2, 133, 4, 2, 4];
const WIDTH = (NH + 2 * NK) * HS;
const qkv = normals(B * S * WIDTH, 1, 0, Stream.test, 0); // (B, S, WIDTH)

/** An attention that takes up to `columns` tokens at once, with a cache of S or without. */
async function openAttention(gpu: Gpu, columns: number, of: "own" | "cache", window: number | null) {
  const arena = (name: string) => new Arena(name, gpu.limits.maxBuffer);
  const [inputs, caches, results] = [arena("inputs"), arena("cache"), arena("results")];
  const rows = inputs.add("qkv", [B * columns, WIDTH]);
  const spans = inputs.add("spans", [B * columns, 2], "u32");
  const cache = caches.add("cache", [B * S, 2 * NK * HS]);
  const graph = new Graph(gpu.limits, { parameterGradients: null });
  const heads = (tensor: Tensor, before: number) => ({ tensor, offset: before * HS });
  if (of === "cache") appendToCache(graph, heads(rows, NH), cache, S);
  const [keys, values] = of === "cache"
    ? [heads(cache, 0), heads(cache, NK)]
    : [heads(rows, NH), heads(rows, NH + NK)];
  const sizes = { batch: B, columns, numHeads: NH, numKvHeads: NK, headDim: HS };
  const looking = { keys: { of, rows: S }, spans, causal: true, window };
  const y = attention(graph, heads(rows, 0), keys, values, { ...sizes, ...looking });
  const out = results.add("out", y.shape);
  addInto(graph, { tensor: out, accumulate: 0 }, y);
  const runtime = new Runtime(gpu);
  await runtime.allocate(inputs, caches, results);
  const [program] = await runtime.load([place(graph)]);
  return {
    /** Outputs of tokens `from` to `to` of every sample: (B, to - from, NH HS). */
    async run(from: number, to: number): Promise<Float32Array> {
      const T = to - from;
      const part = new Float32Array(B * T * WIDTH);
      for (let b = 0; b < B; b++) {
        part.set(qkv.subarray((b * S + from) * WIDTH, (b * S + to) * WIDTH), b * T * WIDTH);
      }
      const seen = Int32Array.from({ length: 2 * B * T }, (_, i) => i % 2 * (from + (i >> 1) % T + 1));
      runtime.write({ tensor: rows, at: 0, length: part.length }, part);
      runtime.write({ tensor: spans, at: 0, length: seen.length }, seen);
      const live: Live = { rows: B * T, batch: B, columns: T, start: from };
      runtime.run(program, live);
      return await runtime.read(out.rows(0, B * T));
    },
    close: () => runtime.close(),
  };
}

for (const window of [null, 60]) {
  Deno.test(`attention with a cache comes to the same bits as without, window ${window ?? "none"}`, async () => {
    const uncapped = await testGpu({ maxBinding: LIMITS.maxBinding });
    const whole = await openAttention(uncapped, S, "own", window);
    const expected = await whole.run(0, S); // (B, S, NH HS)
    whole.close();
    const adapters: Partial<EngineLimits>[] = [{}, { isSoftware: false }, { maxBinding: 4096 }];
    for (const limits of adapters) {
      const cached = await openAttention(
        await testGpu({ ...uncapped.limits, ...limits }),
        64,
        "cache",
        window,
      );
      for (const [from, to] of [[0, 1], [1, 64], [64, 128], [128, 132], [132, 133]]) {
        const found = await cached.run(from, to);
        for (let b = 0; b < B; b++) {
          const [T, C] = [to - from, NH * HS];
          const here = found.subarray(b * T * C, (b + 1) * T * C);
          assertEquals(
            here,
            expected.subarray((b * S + from) * C, (b * S + to) * C),
            `tokens from ${from} on`,
          );
        }
      }
      cached.close();
    }
  });
}

/** The limits of a binding of so many bytes. */
function bindings(maxBinding: number): EngineLimits {
  return { ...LIMITS, maxBinding };
}

const SHAPE: AttentionShape = {
  batch: 2,
  columns: 130,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 8,
  keys: { of: "own", rows: 130 },
  causal: true,
};
const operands = [new Tensor("qkv", [260, 64])];

Deno.test("planAttention() takes whole blocks of all heads where they fit", () => {
  const { inRows, pieces, keyWindows, pitch } = planAttention(LIMITS, SHAPE, operands, 0);
  assertEquals({ inRows, keyWindows, pitch }, {
    inRows: true,
    keyWindows: [{ key0: 0, keys: 130 }],
    pitch: 132,
  });
  const all = { first_kv: 0, kvs: 4, first_member: 0, members: 2, first_key: 0 };
  assertEquals(
    pieces,
    [0, 64, 128].map((first_query) => {
      return { ...all, first_query, rows: Math.min(64, 130 - first_query) };
    }),
  );
});

Deno.test("planAttention() covers each query of each head once, block by block and head by head, under any cap", () => {
  for (const kib of [1000, 64, 40, 16, 8, 4]) {
    const { pieces, keyWindows } = planAttention(bindings(kib * 1024), SHAPE, operands, 0);
    const found = pieces.flatMap(({ first_kv, kvs, first_member, members, first_query, rows }) =>
      Array.from({ length: kvs * members * rows }, (_, i) => {
        const kv = first_kv + Math.floor(i / (members * rows));
        const query = first_query + i % rows;
        return [kv, Math.floor(query / 64), first_member + Math.floor(i / rows) % members, query];
      })
    );
    const count = 2 * 130 * 4;
    assertEquals(found.length, count, `${kib} KiB`);
    assertEquals(new Set(found.map(([kv, , member, query]) => `${kv} ${member} ${query}`)).size, count);
    // The order of a key head's sums: blocks, in each of them the heads, for each of those the queries.
    for (let kv = 0; kv < 4; kv++) {
      const order = found.filter(([of]) => of === kv);
      assertEquals(order, order.toSorted((a, b) => a[1] - b[1] || a[2] - b[2] || a[3] - b[3]), `${kib} KiB`);
    }
    assertEquals(keyWindows.reduce((sum, { keys }) => sum + keys, 0), 130);
  }
});

Deno.test("planAttention() leaves out keys before the band of a block", () => {
  const { pieces, pitch } = planAttention(LIMITS, { ...SHAPE, window: 5 }, operands, 0);
  assertEquals(pieces.map(({ first_key }) => first_key), [0, 0, 64]);
  assertEquals(pitch, 128);
});

Deno.test("attention() refuses products of a query, spans, and heads that do not fit a binding", () => {
  const record = (limits: EngineLimits, sizes: Partial<AttentionOptions>) => () => {
    const options = { ...SHAPE, numHeads: 1, numKvHeads: 1, ...sizes };
    const { batch, columns, keys, headDim } = options;
    const heads = (count: number) => ({ tensor: new Tensor("x", [batch * count, headDim]), offset: 0 });
    const spans = new Tensor("spans", [batch * columns, 2]);
    const graph = new Graph(limits, { parameterGradients: null });
    attention(graph, heads(columns), heads(keys.rows), heads(keys.rows), { ...options, spans });
  };
  const cached = { batch: 1, columns: 1, headDim: 1, keys: { of: "cache", rows: 1100 } } as const;
  assertThrows(
    record(bindings(4096), cached),
    RangeError,
    "One query's products with 1100 keys take 4400 bytes, more than a binding holds (3840)",
  );
  assertThrows(
    record(bindings(2048), {}),
    RangeError,
    "The spans of 2 rows of 130 tokens take 2080 bytes, more than a binding holds (1792)",
  );
  assertThrows(
    record(bindings(2560), { headDim: 200 }),
    RangeError,
    "Four keys of 200 values take 3200 bytes, more than a binding holds (2304)",
  );
});
