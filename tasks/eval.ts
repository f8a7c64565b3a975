import { textChunks } from "../src/data/corpus.ts";
import { UserError } from "../src/errors.ts";
import type { Evaluation } from "../src/eval/evaluate.ts";
import { loadModel } from "../src/eval/model.ts";
import { runVerb } from "./_cli.ts";

const options = {
  text: { type: "strings", value: "FILE...", help: "text files to score, each by itself" },
} as const;

const verb = {
  name: "eval",
  summary: "Scores a model on the held-out part of its run's data, or on any text.",
  usage: "RUN [--text FILE...]",
  options,
};

await runVerb(verb, async ({ flags, args, signal, out, say, emit }) => {
  const [path, ...moreFiles] = args; // a shell turns `--text *.txt` into `--text a.txt b.txt`
  if (path === undefined || (moreFiles.length > 0 && flags.text.length === 0)) {
    throw new UserError(
      `Found ${args.join(" and ") || "no model"}, expected one model: runs/NAME or a folder`,
    );
  }
  await using model = await loadModel(path, { onMessage: say });
  const files = [...flags.text, ...moreFiles];
  for (const file of files.length > 0 ? files : [null]) {
    const evaluation = await model.evaluate({
      text: file === null ? undefined : textChunks(file),
      signal,
      onProgress: (soFar) => {
        if (out.columns() !== null) {
          out.write(`\r\x1b[K${soFar.tokens} tokens, loss ${soFar.loss.toFixed(4)}\r`);
        }
      },
    });
    say(`${model.folder} on ${file ?? "the held-out part of its data"}: ${describe(evaluation)}`);
    emit({ model: model.folder, text: file, ...evaluation });
  }
});

function describe(evaluation: Evaluation): string {
  const { loss, perplexity, bitsPerByte, tokens, bytes } = evaluation;
  const { lossStandardError, perplexityStandardError, bitsPerByteStandardError } = evaluation;
  const parts = [
    `loss ${withError(loss, lossStandardError)} nats/token`,
    `perplexity ${withError(perplexity, perplexityStandardError)}`,
  ];
  if (bitsPerByte !== null) parts.push(`${withError(bitsPerByte, bitsPerByteStandardError)} bits/byte`);
  return `${parts.join(", ")} (${tokens} tokens${bytes === null ? "" : `, ${bytes} bytes`})`;
}

function withError(value: number, error: number | null): string {
  return error === null || Number.isNaN(error)
    ? value.toFixed(4)
    : `${value.toFixed(4)} ± ${error.toFixed(4)}`;
}
