import type { DecoderOptions } from "./tokenizer.ts";

/** A step of a decoder. Makes a function that rewrites a text that comes token by token, and may hold some of it back. */
export type DecoderStage = (options: DecoderOptions) => RunningStage;

export interface RunningStage {
  push(token: string): string;
  /** What was held back. */
  end(): string;
}

/** Stages, each of which gets what the one before it gives out. */
export function chain(stages: readonly DecoderStage[]): DecoderStage {
  return (options) => {
    const running = stages.map((start) => start(options));
    return {
      push: (token) => running.reduce((text, stage) => stage.push(text), token),
      end: () => running.reduce((text, stage) => (text === "" ? "" : stage.push(text)) + stage.end(), ""),
    };
  };
}
