import { z } from "zod";
import { type Frame, NO_FRAME } from "./tokenizer.ts";
import type { Step, TokenizerFile } from "./tokenizerFile.ts";

const templateSchema = z.object({
  single: z.array(z.union([
    z.object({ SpecialToken: z.object({ id: z.string() }) }),
    z.object({ Sequence: z.object({ id: z.string() }) }),
  ])),
  special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0)) })),
});

const POST_PROCESSORS: Readonly<Record<string, (step: Step, file: TokenizerFile) => Frame>> = {
  ByteLevel: () => NO_FRAME, // moves offsets only
  TemplateProcessing(step, file) {
    const { single, special_tokens: tokens } = file.read(templateSchema, step);
    const at = single.findIndex((piece) => "Sequence" in piece);
    const idsOf = (pieces: typeof single) =>
      pieces.flatMap((piece) => {
        if ("Sequence" in piece) throw file.refuse("a TemplateProcessing that repeats the text");
        const { id } = piece.SpecialToken;
        if (!Object.hasOwn(tokens, id)) throw file.damaged(`a TemplateProcessing without ids for ${id}`);
        return tokens[id].ids;
      });
    if (at < 0) throw file.refuse("a TemplateProcessing that leaves out the text");
    return { before: idsOf(single.slice(0, at)), after: idsOf(single.slice(at + 1)) };
  },
};

/** Reads what a post-processor puts around a text. @throws UserError for a type that is not in the table */
export function readPostProcessor(file: TokenizerFile): Frame {
  return file.flatten(file.json.post_processor, "processors")
    .map((step) => file.look(POST_PROCESSORS, step, "post_processor")(step, file))
    .reduce((inner, outer) => ({
      before: [...outer.before, ...inner.before],
      after: [...inner.after, ...outer.after],
    }), NO_FRAME);
}
