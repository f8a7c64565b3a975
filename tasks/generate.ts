import { textChunks } from "../src/data/corpus.ts";
import { UserError } from "../src/errors.ts";
import { loadModel } from "../src/eval/model.ts";
import { runVerb } from "./_cli.ts";

const options = {
  prompt: { type: "string", help: "what to go on from (default: nothing, a text begins)" },
  promptFile: { type: "string", value: "FILE", help: "a file with the prompt" },
  maxTokens: { type: "number", help: "the most tokens to generate (default: 256)" },
  temperature: {
    type: "number",
    value: "T",
    help: "below 1 more likely text, 0 the likeliest (default: 0.8)",
  },
  topK: { type: "number", value: "K", help: "choose among the K likeliest tokens only" },
  topP: {
    type: "number",
    value: "P",
    help: "choose among the likeliest tokens of probability P together only",
  },
  seed: { type: "number", help: "same seed, same text (default: 0)" },
  stop: { type: "strings", help: "end before this text; may be given several times" },
} as const;

const verb = {
  name: "generate",
  summary: "Writes text with a model: of a run, a checkpoint, or a folder with a GPT-2 of Hugging Face.",
  usage: "RUN [--prompt TEXT]",
  options,
};

await runVerb(verb, async ({ flags, args, signal, out, say, emit }) => {
  if (args.length !== 1) {
    throw new UserError(
      `Found ${args.join(" and ") || "no model"}, expected one model: runs/NAME or a folder`,
    );
  }
  const { prompt: given, promptFile, maxTokens, temperature, topK, topP, seed, stop } = flags;
  if (given !== undefined && promptFile !== undefined) {
    throw new UserError("Found both --prompt and --prompt-file, expected one of them");
  }
  const prompt = promptFile === undefined
    ? given ?? ""
    : (await Array.fromAsync(textChunks(promptFile))).join("");

  await using model = await loadModel(args[0], { onMessage: say });
  const pieces = model.generate(prompt, { maxTokens, temperature, topK, topP, seed, stop, signal });
  let text = "";
  for await (const piece of pieces) {
    if (text === "") out.write(prompt);
    text += piece;
    out.write(piece);
  }
  say("");
  emit({ model: model.folder, prompt, text });
});
