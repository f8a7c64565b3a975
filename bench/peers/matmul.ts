/** The matrix product of other WebGPU libraries, each as its users write it. */

import * as jax from "@jax-js/jax";
import * as tf from "@tensorflow/tfjs-core";
import { useJax, useTfjs } from "./devices.ts";

/**
 * Where the operands are transposed, C is (M, N) in all three:
 * NN: A (M, K) times B (K, N); NT: A (M, K) times B (N, K) transposed; TN: A (K, M) transposed times B (K, N).
 */
export type MatmulKind = "NN" | "NT" | "TN";

/** One product, its operands on the device. */
export interface MatmulRun {
  /** Computes C `times` times over, one fence at the end: settled when the device has done all of it. */
  run(times?: number): Promise<void>;
  /** (M, N) row-major: the last C that `run` computed. */
  read(): Promise<Float32Array>;
  dispose(): void;
}

/** A product to prepare: its sizes, and its operands as they are stored. */
export interface MatmulProblem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly kind: MatmulKind;
  readonly a: Float32Array<ArrayBuffer>;
  readonly b: Float32Array<ArrayBuffer>;
}

/** A library to compare with. */
export interface MatmulPeer {
  readonly name: string;
  prepare(problem: MatmulProblem): Promise<MatmulRun>;
}

/** The stored shapes of A and B. */
function operandShapes({ m, n, k, kind }: MatmulProblem): [[number, number], [number, number]] {
  return [kind === "TN" ? [k, m] : [m, k], kind === "NT" ? [n, k] : [k, n]];
}

const jaxJs: MatmulPeer = {
  name: "jax-js",
  async prepare(problem) {
    const { kind, a, b } = problem;
    await useJax();
    const np = jax.numpy;
    const [shapeA, shapeB] = operandShapes(problem);
    const A = np.array(a, { shape: shapeA });
    const B = np.array(b, { shape: shapeB });
    const product = jax.jit((x: jax.Array, y: jax.Array) =>
      np.matmul(kind === "TN" ? x.transpose() : x, kind === "NT" ? y.transpose() : y)
    );
    let C: jax.Array | undefined;
    return {
      async run(times = 1) {
        for (let i = 0; i < times; i++) {
          C?.dispose();
          C = product(A.ref, B.ref);
          await C.ref.gpuBuffer(); // submits: what nobody reads is never computed
        }
        await C?.blockUntilReady();
      },
      async read() {
        if (!C) throw new Error("read() before run()");
        return await C.ref.data() as Float32Array;
      },
      dispose() {
        C?.dispose();
        A.dispose();
        B.dispose();
        product.dispose();
      },
    };
  },
};

const tfjs: MatmulPeer = {
  name: "tfjs",
  async prepare(problem) {
    const { kind, a, b } = problem;
    const backend = await useTfjs();
    const [shapeA, shapeB] = operandShapes(problem);
    const A = tf.tensor2d(a, shapeA);
    const B = tf.tensor2d(b, shapeB);
    let C: tf.Tensor | undefined;
    return {
      async run(times = 1) {
        for (let i = 0; i < times; i++) {
          C?.dispose();
          C = tf.matMul(A, B, kind === "TN", kind === "NT");
        }
        backend.endComputePassEncoder();
        backend.submitQueue();
        await backend.queue.onSubmittedWorkDone();
      },
      async read() {
        if (!C) throw new Error("read() before run()");
        return await C.data<"float32">();
      },
      dispose() {
        tf.dispose(C ? [A, B, C] : [A, B]);
      },
    };
  },
};

/** The libraries to compare with. */
export const matmulPeers: readonly MatmulPeer[] = [jaxJs, tfjs];
