import { z } from "zod";
import { UserError } from "../../errors.ts";
import { checked } from "../../formats/checked.ts";
import { addedTokenSchema } from "./addedTokens.ts";

/** A normalizer, pre-tokenizer, decoder or post-processor: what it does is named by its type. */
const stepSchema = z.looseObject({ type: z.string() });
const fileSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: stepSchema.nullish(),
  pre_tokenizer: stepSchema.nullish(),
  post_processor: stepSchema.nullish(),
  decoder: stepSchema.nullish(),
  model: z.looseObject({ type: z.string().optional() }),
});

export type Step = z.infer<typeof stepSchema>;

/** A tokenizer.json that is being read. */
export class TokenizerFile {
  readonly json: z.infer<typeof fileSchema>;
  /** How errors name it. */
  readonly #name: string;

  /** @throws UserError if it has not the parts of a tokenizer.json */
  constructor(json: unknown, name: string) {
    this.#name = name;
    this.json = checked(fileSchema, json, name);
  }

  /** A part as `schema` reads it. @throws UserError for the first fault */
  read<T>(schema: z.ZodType<T>, { type, ...part }: { readonly type?: string }): T {
    return checked(schema, part, type === undefined ? this.#name : `${this.#name}: ${type}`);
  }

  /** What a step's type means. @throws UserError if the table lacks it */
  look<T>(table: Readonly<Record<string, T>>, { type }: Step, what: string): T {
    if (!Object.hasOwn(table, type)) throw this.refuse(`a ${what} of type ${type}`);
    return table[type];
  }

  /** The steps that a step stands for, if it is a sequence of some under `key`, and of sequences of them. */
  flatten(step: Step | null | undefined, key: string): Step[] {
    if (step == null) return [];
    if (step.type !== "Sequence") return [step];
    const { [key]: steps } = this.read(z.looseObject({ [key]: z.array(stepSchema) }), step);
    return (steps as Step[]).flatMap((part) => this.flatten(part, key));
  }

  /** The error for what is not understood. */
  refuse(found: string): UserError {
    return new UserError(
      `${this.#name} has ${found}, which is not supported: expected a tokenizer such as GPT-2's, BLOOM's, LLaMA's or T5's`,
    );
  }

  /** The error for what contradicts itself. */
  damaged(found: string): UserError {
    return new UserError(`${this.#name} has ${found}`);
  }
}
