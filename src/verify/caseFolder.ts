import { basename, dirname, join, resolve } from "@std/path";
import type { LocalEngineOptions } from "../engine/localEngine.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import type { Comparison } from "./comparison.ts";
import { filesIn, parseJson, readText } from "./files.ts";
import { verifyModelCase } from "./modelCase.ts";
import { verifyTokenizerCase } from "./tokenizerCase.ts";

/**
 * Runs the reference case in a folder, and yields each quantity beside its reference. Its files tell what it is:
 *
 * - a model: config.json, model.safetensors, reference.safetensors; where there is a config.alt.json, the same model in
 *   another spelling, the case is run once more with that
 * - a tokenizer: tokenizer.json, cases.jsonl, decode.jsonl
 *
 * @throws UserError if the folder is no such case, is damaged, or needs an option that does not exist
 *
 * @example
 * ```ts
 * for await (const { quantity, ok } of verifyFolder("tests/fixtures/hf/gpt2")) console.log(quantity, ok);
 * ```
 */
export async function* verifyFolder(
  folder: string,
  options: LocalEngineOptions = {},
): AsyncGenerator<Comparison> {
  const name = caseName(folder);
  const files = filesIn(folder);
  const isModel = files.has("reference.safetensors");
  const isTokenizer = files.has("cases.jsonl");
  if (!isModel && !isTokenizer) {
    throw new UserError(
      `${
        quote(folder)
      } has neither reference.safetensors nor cases.jsonl: expected a model case (config.json, ` +
        "model.safetensors, reference.safetensors) or a tokenizer case (tokenizer.json, cases.jsonl, decode.jsonl)",
    );
  }
  if (isTokenizer) yield* named(name, verifyTokenizerCase(folder, name));
  if (!isModel) return;
  const spellings = files.has("config.alt.json") ? ["config.json", "config.alt.json"] : ["config.json"];
  for (const spelling of spellings) {
    const label = spelling === "config.json" ? name : `${name} (${spelling})`;
    yield* named(label, verifySpelling(folder, spelling, label, options));
  }
}

async function* verifySpelling(
  folder: string,
  spelling: string,
  label: string,
  options: LocalEngineOptions,
): AsyncGenerator<Comparison> {
  const path = join(folder, spelling);
  yield* verifyModelCase(folder, parseJson(await readText(path), path), label, options);
}

/** What a folder's case is called: the last two parts of the path, `hf/gpt2`. */
export function caseName(folder: string): string {
  const path = resolve(folder);
  return `${basename(dirname(path))}/${basename(path)}`;
}

/** Puts the case's name before the user's errors. */
async function* named(name: string, comparisons: AsyncGenerator<Comparison>): AsyncGenerator<Comparison> {
  try {
    yield* comparisons;
  } catch (error) {
    throw error instanceof UserError ? new UserError(`${name}: ${error.message}`) : error;
  }
}
