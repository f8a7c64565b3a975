import { join } from "@std/path";
import { z } from "zod";
import { addedTokenSchema, addedTokenSplitter } from "../data/tokenizers/addedTokens.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import { UserError } from "../errors.ts";
import { checked } from "../formats/checked.ts";
import { quote } from "../formats/file.ts";
import type { Comparison } from "./comparison.ts";
import { parseJson, readText } from "./files.ts";

const idList = z.array(z.int());

/** A line of cases.jsonl. */
const encodeSchema = z.object({
  text: z.string(),
  ids: idList,
  tokens: z.array(z.string()),
  decoded: z.string(),
  /** With the tokens that the post-processor adds. */
  ids_with_special: idList.optional(),
});

/** A line of decode.jsonl. */
const decodeSchema = z.object({ ids: idList, decoded: z.string(), decoded_without_special: z.string() });

/** What names tokens in a tokenizer.json. */
const namesSchema = z.object({
  added_tokens: z.array(addedTokenSchema).default([]),
  model: z.object({
    vocab: z.union([
      z.array(z.tuple([z.string(), z.number()])), // Unigram: with its score
      z.custom<Record<string, number>>((value) => Object(value) === value),
    ]),
    unk_id: z.int().nullish(),
    unk_token: z.string().nullish(),
  }),
});

/**
 * Runs a tokenizer's reference case, laid out as tests/fixtures/README.md says. Each quantity is the number of lines
 * that come out otherwise, and none may.
 *
 * @param folder holds tokenizer.json, cases.jsonl and decode.jsonl
 * @param caseName what the comparisons call it
 * @throws UserError for a file that is missing or damaged, or a tokenizer of a kind that does not exist
 */
export async function* verifyTokenizerCase(folder: string, caseName: string): AsyncGenerator<Comparison> {
  const path = join(folder, "tokenizer.json");
  const tokenizer = await readTokenizer(path);
  const names = checked(namesSchema, tokenizer.toJSON(), path);
  const texts = await readLines(join(folder, "cases.jsonl"), encodeSchema);
  const idRows = await readLines(join(folder, "decode.jsonl"), decodeSchema);
  const tokensOf = tokenNames(names);
  const isNamed = (tokens: readonly string[], names: readonly (string | null | undefined)[]) =>
    tokens.length === names.length && tokens.every((token, i) => names[i] === null || names[i] === token);
  const compare = <T>(quantity: string, rows: readonly T[], isRight: (row: T) => boolean): Comparison => {
    const wrong = rows.filter((row) => !isRight(row)).length;
    return { case: caseName, quantity, maxError: wrong, tolerance: 0, ok: wrong === 0 };
  };
  const encoded = texts.map((row) => ({ ...row, found: [...tokenizer.encode(row.text)] }));

  yield compare("cases.ids", encoded, ({ found, ids }) => isSame(found, ids));
  yield compare("cases.tokens", encoded, ({ text, found, tokens }) => isNamed(tokens, tokensOf(text, found)));
  yield compare("cases.decoded", texts, ({ ids, decoded }) => tokenizer.decode(ids) === decoded);
  yield compare("decode.decoded", idRows, ({ ids, decoded }) => {
    return tokenizer.decode(ids) === decoded && decodeOneByOne(tokenizer, ids) === decoded;
  });
  yield compare("decode.decoded_without_special", idRows, (row) => {
    return tokenizer.decode(row.ids, { skipSpecial: true }) === row.decoded_without_special;
  });

  const framed = encoded.filter(({ ids_with_special }) => ids_with_special !== undefined);
  if (framed.length === 0) return;
  const { before, after } = tokenizer.frame;
  yield compare("cases.ids_with_special", framed, ({ found, ids_with_special }) => {
    return isSame([...before, ...found, ...after], ids_with_special ?? []);
  });
}

/**
 * A function that names the tokens of a text as the tokenizers library does: by the vocabulary, but an added token by
 * the stretch of text that it stands for, white space that it took included. null: the unknown token, which may stand for any text.
 */
function tokenNames({ model, added_tokens }: z.infer<typeof namesSchema>) {
  const tokens = Array.isArray(model.vocab)
    ? model.vocab.map(([token], id) => [token, id] as const)
    : Object.entries(model.vocab);
  const names = new Map(tokens.map(([token, id]) => [id, token]));
  const unknown = model.unk_id ?? tokens.find(([token]) => token === model.unk_token)?.[1];
  for (const { id, content } of added_tokens) names.set(id, content);
  const raw = new Map(added_tokens.filter(({ normalized }) => !normalized).map((token) => [token.id, token]));
  const split = addedTokenSplitter([...raw.values()]);

  return (text: string, ids: readonly number[]): (string | null | undefined)[] => {
    const stretches: string[] = []; // of the added tokens, in order
    let at = 0;
    for (const part of split(text)) {
      const start = at;
      const token = typeof part === "number" ? raw.get(part) : undefined;
      if (token === undefined) {
        at += String(part).length;
        continue;
      }
      at = text.indexOf(token.content, at) + token.content.length;
      if (token.rstrip) { while (/\p{White_Space}/u.test(text.charAt(at))) at++; }
      if (part !== unknown) stretches.push(text.slice(start, at));
    }
    return ids.map((id) => id === unknown ? null : raw.has(id) ? stretches.shift() : names.get(id));
  };
}

function decodeOneByOne(tokenizer: Tokenizer, ids: readonly number[]): string {
  const decoder = tokenizer.decoder();
  return ids.map((id) => decoder.push(id)).join("") + decoder.end();
}

function isSame<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/** @throws UserError that names the file and the line */
async function readLines<T>(path: string, schema: z.ZodType<T>): Promise<T[]> {
  const lines = (await readText(path)).split("\n");
  const rows = lines.flatMap((line, i) => {
    const where = `Line ${i + 1} of ${quote(path)}`;
    return line.trim() === "" ? [] : [checked(schema, parseJson(line, where), where)];
  });
  if (rows.length === 0) throw new UserError(`${quote(path)} is empty, expected a case a line`);
  return rows;
}
