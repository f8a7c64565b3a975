/** The step in tfjs, which has no compiler: operations one by one, inside one tidy. */

import * as tf from "@tensorflow/tfjs-core";
import { useTfjs } from "./devices.ts";
import { type AdamW, type Gpt, parameterShape, type StepPeer } from "./gpt.ts";

type Tensors = Record<string, tf.Tensor>;

/** x (N, C), weight and bias (C). */
function layerNorm(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  const { mean, variance } = tf.moments(x, -1, true); // (N, 1)
  const inverse = tf.rsqrt(tf.add(variance, 1e-5));
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), inverse), weight), bias);
}

/** The tanh form; x of any shape. */
function gelu(x: tf.Tensor): tf.Tensor {
  const cubic = tf.add(x, tf.mul(tf.mul(tf.square(x), x), 0.044715));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(cubic, Math.sqrt(2 / Math.PI))), 1));
}

/** inputs (B, T) -> logits (B * T, V); mask (T, T) is added to the scores. */
function forward(model: Gpt, p: Tensors, inputs: tf.Tensor, mask: tf.Tensor): tf.Tensor {
  const { numLayers, numHeads, modelDim: C } = model;
  const [B, T] = inputs.shape;
  const headDim = C / numHeads;
  const norm = (x: tf.Tensor, at: string) => layerNorm(x, p[`${at}.weight`], p[`${at}.bias`]);
  const project = (x: tf.Tensor, at: string): tf.Tensor =>
    tf.fused.matMul({ a: x, b: p[`${at}.weight`], transposeB: true, bias: p[`${at}.bias`] });

  const positions = tf.slice(p.pos_emb, 0, T);
  let x = tf.reshape(tf.add(tf.gather(p.tok_emb, inputs), positions), [B * T, C]);
  for (let layer = 0; layer < numLayers; layer++) {
    const at = `blocks.${layer}`;
    const qkv = tf.reshape(project(norm(x, `${at}.norm1`), `${at}.attn.qkv`), [B, T, 3, numHeads, headDim]);
    const [q, k, v] = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4])); // (B, NH, T, HS) each
    const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(headDim)), mask);
    const attended = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]); // (B, T, NH, HS)
    x = tf.add(x, project(tf.reshape(attended, [B * T, C]), `${at}.attn.out`));
    const hidden = gelu(project(norm(x, `${at}.norm2`), `${at}.mlp.up`)); // (B * T, F)
    x = tf.add(x, project(hidden, `${at}.mlp.down`));
  }
  return tf.matMul(norm(x, "final_norm"), p.tok_emb, false, true);
}

/** Mean cross-entropy of logits (B * T, V) over the targets (B, T) that are not negative. */
function crossEntropy(model: Gpt, logits: tf.Tensor, targets: tf.Tensor): tf.Scalar {
  const flat = tf.reshape(targets, [-1]); // (B * T)
  const kept = tf.cast(tf.greaterEqual(flat, 0), "float32");
  const labels = tf.oneHot(flat, model.vocabSize); // (B * T, V), all zero where the target is negative
  return tf.losses.softmaxCrossEntropy(labels, logits, kept); // the mean over weights that are not zero
}

/** The state of AdamW: first and second moments beside the parameters. */
type State = { params: Tensors; m: Tensors; v: Tensors };

/** One AdamW step after the clip: step number `count`, from 1. */
function update(optimizer: AdamW, state: State, grads: Tensors, learningRate: number, count: number): State {
  const { beta1, beta2, eps, weightDecay, clip } = optimizer;
  const squares = Object.values(grads).map((g) => tf.sum(tf.square(g)));
  const norm = tf.sqrt(squares.reduce((sum, square) => tf.add(sum, square)));
  const scale = tf.minimum(tf.div(clip, tf.add(norm, 1e-6)), 1);
  const stepSize = learningRate / (1 - beta1 ** count);
  const correction = 1 / (1 - beta2 ** count);

  const next: State = { params: {}, m: {}, v: {} };
  for (const [name, grad] of Object.entries(grads)) {
    const g = tf.mul(grad, scale);
    const m = tf.add(tf.mul(state.m[name], beta1), tf.mul(g, 1 - beta1));
    const v = tf.add(tf.mul(state.v[name], beta2), tf.mul(tf.square(g), 1 - beta2));
    const direction = tf.div(m, tf.add(tf.sqrt(tf.mul(v, correction)), eps));
    const p = state.params[name];
    const decayed = p.rank === 2 ? tf.mul(p, 1 - learningRate * weightDecay) : p;
    next.params[name] = tf.sub(decayed, tf.mul(direction, stepSize));
    next.m[name] = m;
    next.v[name] = v;
  }
  return next;
}

/** (T, T): 0 where a query (row) may look at a key (column), so low elsewhere that softmax gives 0. */
function causalMask(T: number): tf.Tensor2D {
  const mask = new Float32Array(T * T);
  for (let i = 0; i < T; i++) mask.fill(-1e9, i * T + i + 1, (i + 1) * T);
  return tf.tensor2d(mask, [T, T]);
}

export const tfjsStep: StepPeer = {
  name: "tfjs",
  async create(model, batch, optimizer, weights) {
    await useTfjs();
    let state: State = { params: {}, m: {}, v: {} };
    for (const [name, values] of weights) {
      const shape = parameterShape(model, name, values.length);
      state.params[name] = tf.tensor(values, shape);
      state.m[name] = tf.zeros(shape);
      state.v[name] = tf.zeros(shape);
    }
    const names = Object.keys(state.params);
    let count = 0;
    const pending: tf.Scalar[] = [];
    return {
      // deno-lint-ignore require-await
      async step(inputs, targets, learningRate = optimizer.learningRate) {
        count++;
        const [loss, next] = tf.tidy((): [tf.Scalar, State] => {
          const shape: [number, number] = [batch, inputs.length / batch];
          const ids = tf.tensor2d(inputs, shape, "int32");
          const labels = tf.tensor2d(targets, shape, "int32");
          const mask = causalMask(shape[1]);
          const lossAndGrads = tf.valueAndGrads((...tensors: tf.Tensor[]) => {
            const params = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
            return crossEntropy(model, forward(model, params, ids, mask), labels);
          });
          const { value, grads } = lossAndGrads(Object.values(state.params));
          const named = Object.fromEntries(names.map((name, i) => [name, grads[i]]));
          return [value, update(optimizer, state, named, learningRate, count)];
        });
        tf.dispose(state);
        state = next;
        pending.push(loss);
      },
      async losses() {
        const values = [];
        for (const loss of pending.splice(0)) {
          values.push((await loss.data())[0]);
          loss.dispose();
        }
        return values;
      },
      dispose() {
        tf.dispose(state);
      },
    };
  },
};
