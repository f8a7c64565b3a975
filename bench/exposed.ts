/**
 * `deno task bench exposed`: what the exchange of gradients adds to a training step of a group on this machine, and what
 * of it could hide behind the backward pass: both are also done at once. Then the same on a link so slow that the
 * bytes need as long as backward.
 */
import type { NodeArguments, NodeResult } from "./_exposedNode.ts";
import type { Report } from "./_report.ts";
import { spawnGroup } from "./_spawnGroup.ts";

const MEMBERS = [2, 4];
const MODELS = {
  "default model": { overrides: [], repeats: 8 },
  "25 M parameters": {
    overrides: ["model.numLayers=6", "model.modelDim=512", "bpeVocabSize=12000", "train.batchSize=8"],
    repeats: 3,
  },
};
const NODE = new URL("./_exposedNode.ts", import.meta.url);

export async function benchExposed(report: Report): Promise<void> {
  for (const [name, model] of Object.entries(MODELS)) {
    for (const members of MEMBERS) {
      const places = Array.from(
        { length: members },
        (_, self): NodeArguments => ({ self, members, ...model }),
      );
      const quick = await run(places);
      tell(report, `${name}, ${members} nodes`, members, quick);
      const slow = await run(places, sentBytes(quick, members) / quick.backward);
      tell(report, `${name}, ${members} nodes, slow link`, members, slow);
    }
  }
}

async function run(places: readonly NodeArguments[], bytesPerMs?: number): Promise<NodeResult> {
  const results: NodeResult[] = [];
  await spawnGroup<NodeResult>(NODE, places, (result) => results.push(result), bytesPerMs);
  return results[0];
}

/** Of an exchange, by each node. */
function sentBytes({ bytes }: NodeResult, members: number): number {
  return 2 * (members - 1) / members * bytes;
}

function tell(report: Report, name: string, members: number, result: NodeResult): void {
  const { parameters, backward, read, exchange, update, both, raw } = result;
  const bench = "exposed";
  const step = backward + read + exchange + update;
  const rate = sentBytes(result, members) / raw / 1e3;
  const share = (milliseconds: number, whole: number) => `${(100 * milliseconds / whole).toFixed(0)}%`;
  report({
    bench,
    case: `${name}: step`,
    value: step,
    unit: "ms",
    note: `${(parameters / 1e6).toFixed(2)} M parameters; backward ${backward.toFixed(1)}, read ${
      read.toFixed(1)
    }, update ${update.toFixed(1)}`,
  });
  report({
    bench,
    case: `${name}: exchange`,
    value: exchange,
    unit: "ms",
    peer: `bytes / link rate (${rate.toFixed(1)} MB/s)`,
    ratio: raw / exchange,
    note: `${share(exchange, step)} of the step, all of it exposed; the bytes alone ${raw.toFixed(1)} ms`,
  });
  report({
    bench,
    case: `${name}: backward and exchange at once`,
    value: both,
    unit: "ms",
    peer: "one after the other",
    ratio: (backward + exchange) / both,
    note: `${share(Math.max(both - backward, 0), step - backward - exchange + both)} would be left exposed`,
  });
}
