import { createHash } from "node:crypto";
import { deriveRun } from "../../src/config/derive.ts";
import { deriveModel } from "../../src/config/deriveModel.ts";
import type { RunConfig } from "../../src/config/schema.ts";
import type { Replica } from "../../src/net/replica.ts";
import { shareOut } from "../../src/net/sum/shares.ts";
import { planSum, subtreesOf } from "../../src/net/sum/tree.ts";
import { TrainingReplica } from "../../src/train/replica.ts";
import { openRunFolder } from "../../src/train/runFolder.ts";
import type { TrainingResult } from "../../src/train/trainingRun.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { tinyDataset, type TinyOptions } from "./tinyRun.ts";

/** A node on a fresh fake engine, with a run folder or without one. */
export interface Node extends Disposable {
  readonly replica: TrainingReplica;
  readonly engine: ReturnType<typeof fakeEngine>;
  /** Ends its part; its folder can then be opened again. */
  finish(): Promise<TrainingResult>;
}

export async function openNode(
  path: string | null,
  config: RunConfig,
  options: TinyOptions = {},
): Promise<Node> {
  const dataset = await tinyDataset(config);
  const engine = fakeEngine(deriveModel(config.model, dataset.vocabSize), {
    microBatchSize: deriveRun(config).microBatchSize,
    zLoss: config.model.zLoss,
    ...options,
    parameters: undefined,
  });
  const folder = path === null ? null : await openRunFolder(path, config);
  const replica = await TrainingReplica.open({ ...options, config, engine, dataset, folder }).catch(
    (error) => {
      folder?.[Symbol.dispose]();
      throw error;
    },
  );
  const close = () => {
    replica[Symbol.dispose]();
    folder?.[Symbol.dispose]();
  };
  return {
    replica,
    engine,
    finish: () => replica.finish().finally(close),
    [Symbol.dispose]: close,
  };
}

/** What the network does in a step: shares, sums along the tree, the chained digest. */
export async function stepTogether(
  nodes: readonly Node[],
  virtualWorkers: number,
  trainedMs = 0,
): Promise<void> {
  const replicas: Replica[] = nodes.map(({ replica }) => replica);
  const { signal } = new AbortController();
  const shared = (): Float32Array => new Float32Array(new SharedArrayBuffer(4 * replicas[0].sumLength));
  const shares = shareOut(virtualWorkers, replicas.length);
  const values = await Promise.all(replicas.map(async (replica, k) => {
    const pieces = subtreesOf(virtualWorkers, shares[k]);
    const into = pieces.map(shared);
    // Each node's last piece leaves in another number of parts: all of it, once.
    const told = new Uint8Array(replica.sumLength);
    await replica.sums(pieces, into, signal, {
      parts: 1 + (k + replica.applied.step) % 3,
      final: (from, to) => {
        for (let i = from; i < to; i++) told[i]++;
      },
    });
    if (told.some((times) => times !== 1)) throw new Error(`Node ${k} did not tell of each value once`);
    return into;
  })).then((parts) => parts.flat());
  const { additions, root } = planSum(virtualWorkers, shares);
  for (const { target, left, right } of additions) {
    values[target] = values[left].map((value, i) => value + values[right][i]);
  }
  const sum = shared();
  sum.set(values[root]);
  const digest = createHash("sha256").update(replicas[0].applied.digest).update(sum.slice()).digest("hex");
  await Promise.all(replicas.map((replica) => replica.apply(sum, digest, trainedMs)));
}

/** Steps together until the end, or for so many steps. */
export async function trainTogether(
  nodes: readonly Node[],
  { scale: { virtualWorkers } }: RunConfig,
  steps = Infinity,
): Promise<void> {
  const [{ replica }] = nodes;
  for (let i = 0; i < steps && replica.applied.step < replica.totalSteps; i++) {
    await stepTogether(nodes, virtualWorkers);
  }
}
