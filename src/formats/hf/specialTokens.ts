import { z } from "zod";
import { checked } from "../checked.ts";

const id = z.int().min(0);
/** Of no use to a model, but written as they were read: LLaMA's first files have -1 for none. */
const note = z.int().nullable().default(null);

/** The tokens that a config.json names; null: none. */
export const specialTokensSchema = z.object({
  bos_token_id: note,
  /** A list where several of them end a text. */
  eos_token_id: z.union([id, z.array(id)]).nullable().default(null),
  pad_token_id: note,
  decoder_start_token_id: id.nullable().default(null),
});
export type SpecialTokens = Readonly<z.infer<typeof specialTokensSchema>>;

/** @throws UserError for one that is no id */
export function readSpecialTokens(json: unknown): SpecialTokens {
  return checked(specialTokensSchema, json, "config.json");
}
