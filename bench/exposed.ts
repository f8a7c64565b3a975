/**
 * `deno task bench exposed`: what of a group's training step on this machine is exchange and nothing else, when the sum
 * leaves after backward and when it leaves in parts meanwhile. Then the same on a link so slow that the bytes need as
 * long as backward.
 */
import type { NodeArguments, NodeResult } from "./_exposedNode.ts";
import type { Report } from "./_report.ts";
import { spawnGroup } from "./_spawnGroup.ts";

const MEMBERS = [2, 4];
/** In how many a sum leaves. */
const PARTS = [1, 2, 4, 8];
const MODELS = {
  "default model": { overrides: [], repeats: 8, warmUp: 2 },
  "25 M parameters": {
    overrides: ["model.numLayers=7", "model.modelDim=512", "bpeVocabSize=6000", "train.batchSize=4"],
    repeats: 3,
    warmUp: 1,
  },
};
const NODE = new URL("./_exposedNode.ts", import.meta.url);

export async function benchExposed(report: Report): Promise<void> {
  for (const [name, model] of Object.entries(MODELS)) {
    for (const members of MEMBERS) {
      const places = Array.from(
        { length: members },
        (_, self): NodeArguments => ({ self, members, parts: PARTS, ...model }),
      );
      const quick = await run(places);
      tell(report, `${name}, ${members} nodes`, members, quick);
      const slow = await run(places, sentBytes(quick, members) / (quick.work - quick.forward));
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
  const { parameters, forward, work, update, summed, raw } = result;
  const bench = "exposed";
  const rate = sentBytes(result, members) / raw / 1e3;
  report({
    bench,
    case: `${name}: forward, backward and read`,
    value: work,
    unit: "ms",
    note: `${(parameters / 1e6).toFixed(2)} M parameters; forward alone ${forward.toFixed(1)}, update ${
      update.toFixed(1)
    }; the bytes alone ${raw.toFixed(1)} ms (${rate.toFixed(1)} MB/s), ${
      (100 * raw / (work - forward)).toFixed(0)
    }% of backward`,
  });
  const best = Math.min(...summed);
  summed.forEach((milliseconds, i) => {
    const exposed = Math.max(milliseconds - work, 0);
    report({
      bench,
      case: `${name}: summed in ${PARTS[i]} part${i === 0 ? "" : "s"}`,
      value: milliseconds,
      unit: "ms",
      note: `${exposed.toFixed(1)} ms exposed, ${
        (100 * exposed / (milliseconds + update)).toFixed(1)
      }% of a step${milliseconds === best ? "; the least" : ""}`,
    });
  });
}
