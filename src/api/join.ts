import { join as joinPath } from "@std/path";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { deriveRun } from "../config/derive.ts";
import { writeAtomically } from "../data/atomicFile.ts";
import { hashTokenizer } from "../data/tokenStore.ts";
import { RetryError } from "../errors.ts";
import type { Keeps } from "../net/control/messages.ts";
import type { MemberAction } from "../net/member/types.ts";
import { readIfThere } from "../train/durable.ts";
import { probeEngine } from "../train/probe.ts";
import { TrainingReplica } from "../train/replica.ts";
import { groupConfigDigest, groupSettings, MEMBER, openRunFolder } from "../train/runFolder.ts";
import type { TrainingOptions, TrainingResult } from "../train/trainingRun.ts";
import { hasGroup } from "./firstContact.ts";
import { type JoinOptions, type Part, randomId, takePart } from "./member.ts";
import { sumTravel } from "./parts.ts";

/** How a run is trained by a group. */
export interface GroupTrainingOptions extends TrainingOptions {
  /**
   * Another node is expected to keep the run. If none did when it ended, and it falls to this one to keep the last state,
   * that is saved here, or in a new folder beside this one if it is there.
   */
  readonly fallbackFolder?: string;
}

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
  options: GroupTrainingOptions,
  join: JoinOptions,
  onAction?: (action: MemberAction) => void,
): Promise<TrainingResult> {
  const { config, folder, fallbackFolder, signal, onMessage } = options;
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
    keeps: whereKept(options),
    onRefused: async () => {
      if (replica.applied.step === step || folder === null || !await replica.keep()) return;
      onMessage?.(`The state after step ${replica.applied.step} is saved in ${folder.path}`);
    },
    ...sumTravel(config.scale.wire),
  };
  const memberId = join.memberId ?? await lastingId(folder?.path ?? null) ?? randomId();
  const { node, over } = takePart({ ...join, memberId }, part);
  await over;
  if (replica.applied.step === step) signal?.throwIfAborted(); // nothing would have to be saved
  let saved: string | null = null;
  if (node.isHeir && fallbackFolder !== undefined && replica.applied.step >= replica.totalSteps) {
    saved = await saveBeside(fallbackFolder, memberId, replica, options);
  }
  const result = await replica.finish();
  if (saved !== null) return { ...result, folder: saved };
  const { applied, totalSteps } = replica;
  if (applied.step < totalSteps && !signal?.aborted) {
    const found =
      `The group has finished the run while this node has its state after step ${applied.step} of ${totalSteps}`;
    if (folder !== null) throw new RetryError(`${found}; start it again, and it goes on from there`);
    onMessage?.(found);
  }
  return result;
}

function whereKept({ folder, fallbackFolder }: GroupTrainingOptions): Keeps {
  if (folder !== null) return "here";
  return fallbackFolder === undefined ? "nowhere" : "elsewhere";
}

/**
 * Saves a state in the first of these folders that isn't there: what lies in one may be another run's.
 *
 * @returns the folder
 * @throws UserError if it can't be saved
 */
async function saveBeside(
  path: string,
  memberId: string,
  replica: TrainingReplica,
  { config, onMessage }: TrainingOptions,
): Promise<string> {
  let place = path;
  for (let copy = 1; existsSync(place); copy++) {
    place = `${path}-${memberId}${copy === 1 ? "" : `-${copy}`}`;
  }
  using folder = await openRunFolder(place, config);
  await replica.saveIn(folder);
  onMessage?.(
    `warning: no other node of the group keeps the run: this one has saved its end in ${folder.path}`,
  );
  return folder.path;
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
