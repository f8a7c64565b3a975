import defaultText from "../../presets/default.jsonc" with { type: "text" };

/** JSONC texts by name. `default` is whole; the others are laid over it and say only what differs. */
export type Presets = { readonly default: string; readonly [name: string]: string };

/** Those in presets/, imported as text: a compiled program and a remote import have no folder to read. */
export const PRESETS: Presets = { default: defaultText };
