import { createHash } from "node:crypto";
import { join as joinPath } from "@std/path";
import { RetryError } from "../errors.ts";
import { deriveRun } from "../config/derive.ts";
import { writeAtomically } from "../data/atomicFile.ts";
import { hashTokenizer } from "../data/tokenStore.ts";
import type { MemberAction } from "../net/member/types.ts";
import { readIfThere } from "../train/durable.ts";
import { probeEngine } from "../train/probe.ts";
import { TrainingReplica } from "../train/replica.ts";
import { groupConfigDigest, groupSettings, MEMBER } from "../train/runFolder.ts";
import type { TrainingOptions, TrainingResult } from "../train/trainingRun.ts";
import { hasGroup } from "./firstContact.ts";
import { type JoinOptions, type Part, randomId, takePart } from "./member.ts";
import { sumTravel } from "./parts.ts";

/**
 * Trains as `runTraining` does, each step together with the other nodes of a group. The result is the same bits,
 * however many there are.
 *
 * The signal leaves the group at the end of the step, or after 5 s in the middle of it, and saves the last applied one.
 *
 * @param onAction told of what this node does in the group, before it is done
 * @throws as `runTraining`; UserError if the group refuses this node: why; RetryError if a process started anew may
 * join, or the group has finished without this node, which keeps the run's folder
 */
export async function trainInGroup(
  options: TrainingOptions,
  join: JoinOptions,
  onAction?: (action: MemberAction) => void,
): Promise<TrainingResult> {
  const { config, signal, onMessage } = options;
  const { batchAt } = deriveRun(config);
  const tokensOf = (step: number) => batchAt(step).batchSize * config.model.seqLen;
  const identity = await identityOf(options);
  using replica = await TrainingReplica.open(options);
  const { step } = replica.applied;
  if (step >= replica.totalSteps && !await hasGroup(join)) {
    onMessage?.(
      `The run is finished here, after step ${step}, and no group of it is there: nothing is left to do`,
    );
    return await replica.finish();
  }
  const part = {
    replica,
    identity,
    config: groupSettings(config),
    tokensOf,
    signal,
    onMessage,
    onAction,
    keeps: options.folder === null ? "nowhere" as const : "here" as const,
    onRefused: async () => {
      if (replica.applied.step === step || options.folder === null || !await replica.keep()) return;
      onMessage?.(`The state after step ${replica.applied.step} is saved in ${options.folder.path}`);
    },
    ...sumTravel(config.scale.wire),
  };
  const memberId = join.memberId ?? await lastingId(options.folder?.path ?? null);
  await takePart({ ...join, memberId }, part).over;
  if (replica.applied.step === step) signal?.throwIfAborted(); // nothing would have to be saved
  const result = await replica.finish();
  const { applied, totalSteps } = replica;
  if (applied.step < totalSteps && !signal?.aborted) {
    const found =
      `The group has finished the run while this node has its state after step ${applied.step} of ${totalSteps}`;
    if (options.folder !== null) throw new RetryError(`${found}; start it again, and it goes on from there`);
    onMessage?.(found);
  }
  return result;
}

/**
 * A name that a process has again when it is started again: its run's folder keeps it. The folder's lock keeps others
 * from taking it meanwhile. It is random, as machines made from one image have the same names and paths.
 *
 * @returns undefined without a folder
 * @throws UserError if it can't be kept
 */
export async function lastingId(folder: string | null): Promise<string | undefined> {
  if (folder === null) return undefined;
  const path = joinPath(folder, MEMBER);
  const kept = await readIfThere(path);
  if (kept !== null) return kept.trim();
  const id = randomId();
  await writeAtomically(path, `${id}\n`);
  return id;
}

/** What all nodes of a group must have in common so that they compute the same bits. */
async function identityOf(
  { config, engine, dataset, signal }: TrainingOptions,
): Promise<Part["identity"]> {
  return {
    run: config.name,
    configDigest: groupConfigDigest(config),
    tokenizerHash: sha256(hashTokenizer(dataset.tokenizer) + dataset.hash),
    virtualWorkers: config.scale.virtualWorkers,
    probe: await probeEngine(config, engine, dataset, signal),
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
