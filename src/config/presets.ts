import defaultText from "../../presets/default.jsonc" with { type: "text" };
import gpt3Text13b from "../../presets/gpt3-1.3b.jsonc" with { type: "text" };
import gpt3Text125m from "../../presets/gpt3-125m.jsonc" with { type: "text" };
import nanogptText from "../../presets/nanogpt-cpu.jsonc" with { type: "text" };

/** JSONC texts by name. `default` is whole; the others are laid over it and say only what differs. */
export type Presets = { readonly default: string; readonly [name: string]: string };

/** Those in presets/, imported as text: a compiled program and a remote import have no folder to read. */
export const PRESETS: Presets = {
  "default": defaultText,
  "nanogpt-cpu": nanogptText,
  "gpt3-125m": gpt3Text125m,
  "gpt3-1.3b": gpt3Text13b,
};
