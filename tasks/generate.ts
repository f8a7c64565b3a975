import { textChunks } from "../src/data/corpus.ts";
import { UserError } from "../src/errors.ts";
import { resolveTokenOptions } from "../src/eval/generate.ts";
import { loadModel } from "../src/eval/model.ts";
import { runVerb } from "./_cli.ts";
import { flagOf } from "./_flags.ts";
import { GPU_OPTION, takeGpu } from "./_gpu.ts";
import { MODEL_OPERAND } from "./_operands.ts";

const options = {
  prompt: { type: "string", help: "what to go on from (default: nothing, a text begins)" },
  promptFile: { type: "string", value: "FILE", help: "a file with the prompt" },
  maxTokens: { type: "number", help: "the most tokens to generate (default: 256)" },
  temperature: {
    type: "number",
    value: "T",
    help: "below 1 likelier text, 0 always the likeliest token (default: 0.8)",
  },
  topK: { type: "number", value: "K", help: "choose among the K likeliest tokens only (default: all)" },
  topP: {
    type: "number",
    value: "P",
    help: "choose among the likeliest tokens of probability P together only (default: 1)",
  },
  context: {
    type: "number",
    help: "tokens that the model looks back at, more than in training only without learned positions",
  },
  seed: { type: "number", help: "same seed, same text (default: 0)" },
  stop: { type: "strings", help: "end before this text; may be given several times" },
  ...GPU_OPTION,
} as const;

const verb = {
  name: "generate",
  summary: "Writes text with a model.",
  usage: "MODEL [--prompt TEXT]",
  operands: MODEL_OPERAND,
  options,
  examples: [
    ['runs/default --prompt "interface "', "goes on from a prompt"],
    ["runs/default --temperature 0 --max-tokens 50", "the likeliest text"],
    ["runs/default --prompt-file a.txt --stop ';'", "goes on from a file, up to the first semicolon"],
  ],
} as const;

await runVerb(verb, async ({ flags, args, signal, screen, say, emit }) => {
  if (args.length !== 1) {
    throw new UserError(
      `Found ${args.join(" and ") || "no model"}, expected one model: runs/NAME or a folder`,
    );
  }
  const { prompt: given, promptFile, maxTokens, temperature, topK, topP, seed, stop } = flags;
  const tokenOptions = { maxTokens, temperature, topK, topP, seed };
  resolveTokenOptions(tokenOptions, flagOf); // before the model is loaded, and by the flags' names
  if (given !== undefined && promptFile !== undefined) {
    throw new UserError("Found both --prompt and --prompt-file, expected one of them");
  }
  const prompt = promptFile === undefined
    ? given ?? ""
    : (await Array.fromAsync(textChunks(promptFile))).join("");

  await takeGpu(flags, () => {}); // what is written is the model's text alone
  await using model = await loadModel(args[0], { contextLength: flags.context, onMessage: say });
  model.tokenizer?.encode(prompt); // what it refuses is told before anything is written
  screen.write(prompt);
  let text = "";
  for await (const piece of model.generate(prompt, { ...tokenOptions, stop, signal })) {
    text += piece;
    screen.write(piece);
  }
  say("");
  emit({ model: model.folder, prompt, text });
});
