import bloom from "../../presets/bloom-176b.jsonc" with { type: "text" };
import causalDecoder from "../../presets/causal-decoder-4.8b.jsonc" with { type: "text" };
import defaultText from "../../presets/default.jsonc" with { type: "text" };
import encoderDecoder from "../../presets/encoder-decoder-11b.jsonc" with { type: "text" };
import gptAlibi from "../../presets/gpt3-1.3b-alibi.jsonc" with { type: "text" };
import gptC4 from "../../presets/gpt3-1.3b-c4.jsonc" with { type: "text" };
import gptEmbeddingNorm from "../../presets/gpt3-1.3b-embedding-norm.jsonc" with { type: "text" };
import gptNoPositions from "../../presets/gpt3-1.3b-no-positions.jsonc" with { type: "text" };
import gptOscar from "../../presets/gpt3-1.3b-oscar.jsonc" with { type: "text" };
import gptPile from "../../presets/gpt3-1.3b-pile.jsonc" with { type: "text" };
import gptRotary from "../../presets/gpt3-1.3b-rotary.jsonc" with { type: "text" };
import gptSwiglu from "../../presets/gpt3-1.3b-swiglu.jsonc" with { type: "text" };
import gpt1300m from "../../presets/gpt3-1.3b.jsonc" with { type: "text" };
import gpt125m from "../../presets/gpt3-125m.jsonc" with { type: "text" };
import gpt350m from "../../presets/gpt3-350m.jsonc" with { type: "text" };
import gpt760m from "../../presets/gpt3-760m.jsonc" with { type: "text" };
import nanogptCpu from "../../presets/nanogpt-cpu.jsonc" with { type: "text" };
import noncausalDecoder from "../../presets/noncausal-decoder-4.8b.jsonc" with { type: "text" };

/**
 * JSONC texts by name. `default` is whole; the others say only what differs from the one that they name as their
 * `"preset"`, or from `default`. The first line is a comment that says in a sentence what the preset is.
 */
export type Presets = { readonly default: string; readonly [name: string]: string };

/** Those in presets/, imported as text: a compiled program and a remote import have no folder to read. */
export const PRESETS: Presets = {
  "default": defaultText,
  "nanogpt-cpu": nanogptCpu,
  "gpt3-125m": gpt125m,
  "gpt3-350m": gpt350m,
  "gpt3-760m": gpt760m,
  "gpt3-1.3b": gpt1300m,
  "gpt3-1.3b-oscar": gptOscar,
  "gpt3-1.3b-c4": gptC4,
  "gpt3-1.3b-pile": gptPile,
  "gpt3-1.3b-no-positions": gptNoPositions,
  "gpt3-1.3b-rotary": gptRotary,
  "gpt3-1.3b-alibi": gptAlibi,
  "gpt3-1.3b-swiglu": gptSwiglu,
  "gpt3-1.3b-embedding-norm": gptEmbeddingNorm,
  "bloom-176b": bloom,
  "causal-decoder-4.8b": causalDecoder,
  "noncausal-decoder-4.8b": noncausalDecoder,
  "encoder-decoder-11b": encoderDecoder,
};

/** What a preset is, in a sentence. */
export function presetSummary(text: string): string {
  return text.slice(0, text.indexOf("\n")).replace(/^\/\/ */, "").replace(/\.$/, "");
}
