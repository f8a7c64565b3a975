/**
 * The step in jax-js: one jitted function from (state, batch) to (loss, state).
 *
 * jax-js counts references: a call consumes the arrays it is given, `.ref` keeps one for later.
 */

import * as jax from "@jax-js/jax";
import { useJax } from "./devices.ts";
import { type AdamW, type Gpt, parameterShape, type StepPeer } from "./gpt.ts";

const { nn, numpy: np, tree } = jax;

type Tensor = jax.Array;
type Tensors = Record<string, Tensor>;

/** x (..., C), weight and bias (C). */
function layerNorm(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  return nn.standardize(x, -1, { epsilon: 1e-5 }).mul(weight).add(bias);
}

/** x (..., in), weight (out, in), bias (out). */
function linear(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  return np.matmul(x, weight.transpose()).add(bias);
}

/** inputs (B, T) -> logits (B, T, V); consumes both arguments. */
function forward(model: Gpt, p: Tensors, inputs: Tensor): Tensor {
  const { numLayers, numHeads, modelDim: C } = model;
  const [B, T] = inputs.shape;
  const norm = (x: Tensor, at: string) => layerNorm(x, p[`${at}.weight`], p[`${at}.bias`]);
  const project = (x: Tensor, at: string) => linear(x, p[`${at}.weight`], p[`${at}.bias`]);
  const heads = (x: Tensor) => x.reshape([B, T, numHeads, C / numHeads]);

  // The gradient of np.take is a scatter whose shader Deno's WGSL compiler rejects: a product with one-hot rows instead.
  const tokens = np.matmul(nn.oneHot(inputs, model.vocabSize), p.tok_emb.ref); // (B, T, C)
  let x = tokens.add(p.pos_emb.slice([0, T]));
  for (let layer = 0; layer < numLayers; layer++) {
    const at = `blocks.${layer}`;
    const qkv = project(norm(x.ref, `${at}.norm1`), `${at}.attn.qkv`); // (B, T, 3C)
    const [q, k, v] = np.split(qkv, 3, -1).map(heads); // (B, T, NH, HS) each
    const attended = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([B, T, C]);
    x = x.add(project(attended, `${at}.attn.out`));
    const hidden = nn.gelu(project(norm(x.ref, `${at}.norm2`), `${at}.mlp.up`)); // (B, T, F)
    x = x.add(project(hidden, `${at}.mlp.down`));
  }
  return np.matmul(norm(x, "final_norm"), p.tok_emb.transpose());
}

/** Mean cross-entropy over the targets (B, T) that are not negative; consumes its arguments. */
function crossEntropy(model: Gpt, p: Tensors, inputs: Tensor, targets: Tensor): Tensor {
  const logProbs = nn.logSoftmax(forward(model, p, inputs), -1); // (B, T, V)
  const kept = targets.ref.greaterEqual(0).astype(np.float32); // (B, T)
  const index = np.maximum(targets, 0);
  const picked = logProbs.mul(nn.oneHot(index, model.vocabSize)).sum(-1); // (B, T)
  return picked.mul(kept.ref).sum().neg().div(kept.sum());
}

/** The state of AdamW: first and second moments beside the parameters. */
type State = { params: Tensors; m: Tensors; v: Tensors };

/** lr, and the bias corrections 1 - beta^s of both moments: arguments, so that one compiled step serves them all. */
type Schedule = { learningRate: Tensor; correction1: Tensor; correction2: Tensor };

/** One AdamW step after the clip; consumes its arguments. */
function update(optimizer: AdamW, state: State, grads: Tensors, schedule: Schedule): State {
  const { beta1, beta2, eps, weightDecay, clip } = optimizer;
  const { learningRate, correction1, correction2 } = schedule;
  const squares = Object.values(grads).map((g) => np.square(g.ref).sum());
  const norm = np.sqrt(squares.reduce((sum, square) => sum.add(square)));
  const scale = np.minimum(np.array(clip).div(norm.add(1e-6)), 1);

  const next: State = { params: {}, m: {}, v: {} };
  for (const [name, grad] of Object.entries(grads)) {
    const g = grad.mul(scale.ref);
    const m = state.m[name].mul(beta1).add(g.ref.mul(1 - beta1));
    const v = state.v[name].mul(beta2).add(np.square(g).mul(1 - beta2));
    const direction = m.ref.div(correction1.ref).div(np.sqrt(v.ref.div(correction2.ref)).add(eps));
    const p = state.params[name];
    const decayed = p.ndim === 2 ? p.mul(np.subtract(1, learningRate.ref.mul(weightDecay))) : p;
    next.params[name] = decayed.sub(direction.mul(learningRate.ref));
    next.m[name] = m;
    next.v[name] = v;
  }
  tree.dispose([schedule, scale]);
  return next;
}

export const jaxStep: StepPeer = {
  name: "jax-js",
  async create(model, batch, optimizer, weights) {
    await useJax();
    const lossAndGrads = jax.valueAndGrad((p: Tensors, inputs: Tensor, targets: Tensor) =>
      crossEntropy(model, p, inputs, targets)
    );
    const train = jax.jit(
      (state: State, schedule: Schedule, inputs: Tensor, targets: Tensor): [Tensor, State] => {
        const [loss, grads] = lossAndGrads(tree.ref(state.params), inputs, targets);
        return [loss, update(optimizer, state, grads, schedule)];
      },
    );

    let state: State = { params: {}, m: {}, v: {} };
    for (const [name, values] of weights) {
      const shape = parameterShape(model, name, values.length);
      state.params[name] = np.array(values, { shape });
      state.m[name] = np.zeros(shape);
      state.v[name] = np.zeros(shape);
    }
    let count = 0;
    const pending: Tensor[] = [];
    return {
      // deno-lint-ignore require-await
      async step(inputs, targets, learningRate = optimizer.learningRate) {
        count++;
        const schedule = {
          learningRate: np.array(learningRate),
          correction1: np.array(1 - optimizer.beta1 ** count),
          correction2: np.array(1 - optimizer.beta2 ** count),
        };
        const shape = [batch, inputs.length / batch];
        const [loss, next] = train(
          state,
          schedule,
          np.array(inputs, { shape }),
          np.array(targets, { shape }),
        );
        state = next;
        pending.push(loss);
      },
      async losses() {
        const values = [];
        for (const loss of pending.splice(0)) values.push((await loss.data())[0]);
        return values;
      },
      dispose() {
        tree.dispose(state);
        train.dispose();
      },
    };
  },
};
