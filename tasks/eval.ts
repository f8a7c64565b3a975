import { textChunks } from "../src/data/corpus.ts";
import { UserError } from "../src/errors.ts";
import type { Evaluation } from "../src/eval/evaluate.ts";
import { loadModel, type Model } from "../src/eval/model.ts";
import { type Call, runVerb } from "./_cli.ts";
import { formatEstimate, formatInteger } from "./_format.ts";
import { GPU_OPTION, takeGpu } from "./_gpu.ts";
import { MODEL_OPERAND } from "./_operands.ts";

const options = {
  text: { type: "strings", value: "FILE...", help: "text files to score, each by itself" },
  context: {
    type: "number",
    help: "tokens in a row, more than in training only without learned positions",
  },
  ...GPU_OPTION,
} as const;

const verb = {
  name: "eval",
  summary:
    "Scores a model on the held-out part of its run's data, or on any text: loss, perplexity, bits per byte.",
  usage: "MODEL [--text FILE...] [--context N]",
  operands: MODEL_OPERAND,
  options,
  examples: [
    ["runs/default", "on what was held out"],
    ["runs/default --text a.txt b.txt", "on texts, of any length"],
    ["runs/rotary --context 512", "in rows longer than those of its training"],
    ["runs/default/checkpoints/step-300", "one checkpoint of a run"],
  ],
} as const;

await runVerb(verb, async (call) => {
  const { flags, args, say } = call;
  const [path, ...moreFiles] = args; // a shell turns `--text *.txt` into `--text a.txt b.txt`
  if (path === undefined || (moreFiles.length > 0 && flags.text.length === 0)) {
    throw new UserError(
      `Found ${args.join(" and ") || "no model"}, expected one model: runs/NAME or a folder`,
    );
  }
  const files = [...flags.text, ...moreFiles];
  await takeGpu(flags, say);
  await using model = await loadModel(path, { contextLength: flags.context, onMessage: say });
  if (files.length === 0) return await score(call, model, null);
  let failures = 0;
  for (const file of files) {
    try {
      await score(call, model, file);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const message = error.message.includes(file) ? error.message : `${file}: ${error.message}`;
      call.emit({ model: model.folder, text: file, error: message });
      if (files.length === 1) throw new UserError(message);
      say(`not scored: ${message}`);
      failures++;
    }
  }
  if (failures > 0) throw new UserError(`${failures} of ${files.length} texts could not be scored`);
});

/** @param file null: the held-out part of the run's data */
async function score(call: Call<typeof options>, model: Model, file: string | null): Promise<void> {
  const { signal, screen, say, emit } = call;
  const text = file === null ? undefined : textChunks(file);
  const onProgress = ({ tokens, loss }: Evaluation) => {
    screen.show(`${formatInteger(tokens)} tokens, loss ${loss.toFixed(4)}`);
  };
  const evaluation = await model.evaluate({ text, signal, onProgress }).finally(() => screen.show(""));
  say(`${model.folder} on ${file ?? "the held-out part of its data"}: ${describe(evaluation)}`);
  emit({ model: model.folder, text: file, ...evaluation });
}

function describe(evaluation: Evaluation): string {
  const { loss, perplexity, bitsPerByte, tokens, bytes } = evaluation;
  const { lossStandardError, perplexityStandardError, bitsPerByteStandardError } = evaluation;
  const parts = [
    `loss ${formatEstimate(loss, lossStandardError)} nats/token`,
    `perplexity ${formatEstimate(perplexity, perplexityStandardError)}`,
  ];
  if (bitsPerByte !== null) parts.push(`${formatEstimate(bitsPerByte, bitsPerByteStandardError)} bits/byte`);
  const counts = [`${formatInteger(tokens)} tokens`];
  if (bytes !== null) counts.push(`${formatInteger(bytes)} bytes`);
  return `${parts.join(", ")} (${counts.join(", ")})`;
}
