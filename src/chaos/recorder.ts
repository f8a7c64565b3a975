import type { Dataset } from "../data/dataset.ts";
import type { MemberMessage } from "../net/control/messages.ts";
import type { MemberAction } from "../net/member/types.ts";
import type { Entry } from "./ledger.ts";

/** An entry without its time. */
export type Event<E = Entry> = E extends Entry ? Omit<E, "at"> : never;

export interface Recorder {
  /** To be trained on. */
  readonly dataset: Dataset;
  /** To be told of what the member does, before it is done. */
  readonly onAction: (action: MemberAction) => void;
}

/** Notes the samples that a member reads, and says them with what comes of the step. */
export function openRecorder(dataset: Dataset, say: (event: Event) => void): Recorder {
  let samples: number[] = [];
  let current: { readonly epoch: number; readonly step: number } | null = null;
  let isSaid = false;
  /** Who has lost its coordinator before its part was done says so with the next hello. */
  const isDone = (message: MemberMessage) =>
    !isSaid && (message.type === "ready" || (message.type === "hello" && message.held !== null));
  const onAction = (action: MemberAction) => {
    if (action.kind === "begin") {
      const { epoch, step } = action.work;
      current = { epoch, step };
      samples = [];
      isSaid = false;
      say({ kind: "begin", epoch, step });
    } else if (action.kind === "cancel") {
      current = null;
    } else if (action.kind === "send" && isDone(action.message)) {
      say({ kind: "ready", ...current!, samples });
      isSaid = true;
    } else if (action.kind === "apply") {
      say({ kind: "apply", epoch: current?.step === action.step ? current.epoch : null, step: action.step });
    } else if (action.kind === "copy") {
      say({ kind: "copy" });
    }
  };
  const batch: Dataset["batch"] = (first, rows) => {
    const read = dataset.batch(first, rows);
    samples.push(...read.sampleIds);
    return read;
  };
  return { dataset: { ...dataset, batch }, onAction };
}
