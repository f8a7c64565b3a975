import { createHash } from "node:crypto";
import library from "../../deno.json" with { type: "json" };
import { deriveRun } from "../config/derive.ts";
import { hashTokenizer } from "../data/tokenStore.ts";
import { RetryError, UserError } from "../errors.ts";
import type { OpenSocket } from "../net/connect.ts";
import type { ListenOptions } from "../net/listenServer.ts";
import type { MemberAction } from "../net/member/types.ts";
import type { Identity } from "../net/messages.ts";
import { joinGroup } from "../net/node.ts";
import { probeEngine } from "../train/probe.ts";
import { TrainingReplica } from "../train/replica.ts";
import { groupConfigDigest } from "../train/runFolder.ts";
import type { TrainingOptions, TrainingResult } from "../train/trainingRun.ts";

/** A group of nodes that train together. */
export interface JoinOptions {
  /** Of its coordinator, such as `ws://host:7777`. */
  readonly url: string;
  /** The group's secret, from `importToken`. */
  readonly token: CryptoKey;
  /** What the group calls this node: letters, digits, dots and dashes. By default a random name. */
  readonly memberId?: string;
  /** Where other nodes reach this one; by default any free port of 127.0.0.1. */
  readonly listen?: ListenOptions & {
    /** What the others are told, if it is not where this node listens. */
    readonly url?: string;
  };
  /** Opens WebSockets where more is needed than a URL: a private CA, see `openWithCa`. */
  readonly openSocket?: OpenSocket;
}

/** A node that is asked to leave gives up a step that takes longer. */
const LEAVE_MS = 5000;

/**
 * Trains as `runTraining` does, each step together with the other nodes of a group. The result is the same bits,
 * however many there are.
 *
 * The signal leaves the group at the end of the step, or after 5 s in the middle of it, and saves the last applied one.
 *
 * @param onAction told of what this node does in the group, before it is done
 * @throws as `runTraining`; UserError if the group refuses this node: why; RetryError if a process started anew may
 * join
 */
export async function trainInGroup(
  options: TrainingOptions,
  join: JoinOptions,
  onAction?: (action: MemberAction) => void,
): Promise<TrainingResult> {
  const identity = await identityOf(options);
  using replica = await TrainingReplica.open(options);
  const { step } = replica.applied;
  await takePart(options, join, identity, replica, onAction);
  if (replica.applied.step === step) options.signal?.throwIfAborted(); // nothing would have to be saved
  if (replica.applied.step < replica.totalSteps && !options.signal?.aborted) {
    options.onMessage?.("The group has finished the run before this node had its state");
  }
  return await replica.finish();
}

/** Does steps with the group until there are none left, or the signal. */
async function takePart(
  { config, signal, onMessage = () => {} }: TrainingOptions,
  { url, token, memberId = `node-${crypto.randomUUID().slice(0, 8)}`, listen, openSocket }: JoinOptions,
  identity: Identity,
  replica: TrainingReplica,
  onAction?: (action: MemberAction) => void,
): Promise<void> {
  const { batchAt } = deriveRun(config);
  const giveUp = new AbortController();
  const node = joinGroup({
    coordinator: url,
    identity,
    replica,
    tokensOf: (step) => batchAt(step).batchSize * config.model.seqLen,
    signal: giveUp.signal,
    log: (level, text) => onMessage(level === "warn" ? `warning: ${text}` : text),
    ...{ token, memberId, listen, openSocket, onAction },
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leave = () => {
    node.leave(false);
    timer = setTimeout(() => giveUp.abort(), LEAVE_MS);
  };
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    const { refusal } = await node.done;
    if (refusal === null) return;
    const { reason, retry } = refusal;
    throw new (retry ? RetryError : UserError)(`The group at ${url} does not take this node: ${reason}`);
  } catch (error) {
    if (error !== giveUp.signal.reason) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", leave);
  }
}

/** What all nodes of a group must have in common so that they compute the same bits. */
async function identityOf({ config, engine, dataset, signal }: TrainingOptions): Promise<Identity> {
  return {
    run: config.name,
    version: library.version,
    configDigest: groupConfigDigest(config),
    tokenizerHash: sha256(hashTokenizer(dataset.tokenizer) + dataset.hash),
    virtualWorkers: config.scale.virtualWorkers,
    probe: await probeEngine(config, engine, dataset, signal),
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
