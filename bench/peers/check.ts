/**
 * Holds the peers against references before anything is timed: products against float64, ten training steps against
 * the losses of the study's reference.
 *
 *     deno run -A bench/peers/check.ts [FOLDER]
 *
 * FOLDER is a reference model with learned positions, tanh GELU and a tied head; by default that of the tests.
 */

import { pathToFileURL } from "node:url";
import { noise } from "../_report.ts";
import { type Gpt, stepPeers } from "./step.ts";
import { type MatmulKind, matmulPeers } from "./matmul.ts";

const REFERENCE = new URL("../../tests/fixtures/study/learned-gelu/", import.meta.url);
/** Rows of the reference batch, B. */
const BATCH = 2;
const LOSS_TOLERANCE = 2e-4;

/** Awkward sizes [M, N, K], the second with more than one tile of every library in each direction. */
const SIZES: readonly [number, number, number][] = [[65, 67, 35], [130, 96, 129]];

type Data = Float32Array<ArrayBuffer>;

/** A B in float64, (M, N) row-major. */
function product(m: number, n: number, k: number, kind: MatmulKind, a: Data, b: Data): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let l = 0; l < k; l++) {
        c[i * n + j] += (kind === "TN" ? a[l * m + i] : a[i * k + l]) *
          (kind === "NT" ? b[j * k + l] : b[l * n + j]);
      }
    }
  }
  return c;
}

/** The largest absolute difference; NaN if there is one in either. */
function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return NaN;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(actual[i] - expected[i]));
  return largest;
}

/** Prints one line, and throws when the error is past the limit or not a number. */
function report(what: string, error: number, limit: number): void {
  if (!(error <= limit)) throw new Error(`${what}: error ${error}, limit ${limit}`);
  console.log(`${what}: error ${error.toExponential(1)}, limit ${limit.toExponential(1)}`);
}

/** The float32 and int32 tensors of a safetensors file. */
function readTensors(path: URL): { float: Map<string, Data>; int: Map<string, Int32Array<ArrayBuffer>> } {
  const bytes = Deno.readFileSync(path);
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header: Record<string, { dtype?: string; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, start)),
  );
  const float = new Map<string, Data>();
  const int = new Map<string, Int32Array<ArrayBuffer>>();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    const data = () => bytes.slice(start + data_offsets[0], start + data_offsets[1]).buffer;
    if (dtype === "F32") float.set(name, new Float32Array(data()));
    if (dtype === "I32") int.set(name, new Int32Array(data()));
  }
  return { float, int };
}

/** Holds every peer's products against float64. */
async function checkMatmul(): Promise<void> {
  for (const peer of matmulPeers) {
    for (const [m, n, k] of SIZES) {
      for (const kind of ["NN", "NT", "TN"] as const) {
        const a = noise(m * k, 1);
        const b = noise(k * n, 2);
        const run = await peer.prepare({ m, n, k, kind, a, b });
        await run.run(3);
        const error = largestError(await run.read(), product(m, n, k, kind, a, b));
        run.dispose();
        report(`${peer.name} ${kind} ${m} x ${n} x ${k}`, error, k * 2 ** -23);
      }
    }
  }
}

/** Holds every peer's losses of ten steps against the reference of `folder`. */
async function checkStep(folder: URL): Promise<void> {
  const model: Gpt = JSON.parse(Deno.readTextFileSync(new URL("config.json", folder)));
  const weights = readTensors(new URL("model.safetensors", folder)).float;
  const { float, int } = readTensors(new URL("reference.safetensors", folder));
  const [inputs, targets, rates, expected] = [
    int.get("input_ids"),
    int.get("labels"),
    float.get("lrs"),
    float.get("losses"),
  ];
  if (!inputs || !targets || !rates || !expected) throw new Error("no reference of ten steps");
  const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
  for (const peer of stepPeers) {
    const run = await peer.create(model, BATCH, optimizer, weights);
    for (const rate of rates) await run.step(inputs, targets, rate);
    const losses = await run.losses();
    run.dispose();
    report(`${peer.name} ten steps`, largestError(losses, expected), LOSS_TOLERANCE);
  }
}

const folder = Deno.args[0] ? pathToFileURL(`${Deno.args[0]}/`) : REFERENCE;
await checkMatmul();
await checkStep(folder);
