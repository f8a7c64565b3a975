import { planRun } from "../src/api/plan.ts";
import { trainRun } from "../src/api/train.ts";
import { resolveConfig } from "../src/config/load.ts";
import { UserError } from "../src/errors.ts";
import { ngramBitsPerByte } from "../src/data/ngramBaseline.ts";
import { runVerb } from "./_cli.ts";
import { formatBytes, formatCount, progressLine } from "./_progress.ts";

const options = {
  dryRun: { type: "boolean", help: "print parameters, memory and operations, and stop" },
  runs: { type: "string", help: "the folder of all runs (default: runs)" },
} as const;

const verb = {
  name: "train",
  summary: "Trains a model, or goes on with a run that was stopped.",
  usage: "[CONFIG.jsonc] [key=value...]",
  options,
};

await runVerb(verb, async ({ flags, args, signal, out, say, emit }) => {
  const overrides = args.filter((arg) => arg.includes("="));
  const files = args.filter((arg) => !arg.includes("="));
  if (files.length > 1) {
    throw new UserError(`Found ${files.length} config files (${files.join(", ")}), expected one`);
  }
  const config = resolveConfig({
    file: files[0] === undefined ? undefined : await readConfig(files[0]),
    overrides,
  });

  if (flags.dryRun) {
    const plan = await planRun(config);
    const { weights, gradients, moments, activations, total } = plan.bytes;
    say(`Adapter       ${plan.adapter}`);
    say(
      `Corpus        ${plan.source}: ${plan.trainTokens} tokens to train on, ${plan.validationTokens} held out`,
    );
    say(`Parameters    ${plan.parameters}`);
    say(`Weights       ${formatBytes(weights)}`);
    say(`Gradients     ${formatBytes(gradients)}`);
    say(`Moments       ${formatBytes(moments)}`);
    say(`Activations   ${formatBytes(activations)} (micro-batch of ${plan.microBatchSize})`);
    say(`Peak          ${formatBytes(total)}`);
    say(`Operations    ${formatCount(plan.flopsPerStep)} FLOP a step, ${plan.totalSteps} steps`);
    emit({ ...plan });
    return;
  }

  const progress = progressLine(out);
  const live = (what: string, done: number, total: number) => {
    if (out.columns() !== null) out.write(`\r\x1b[K${done === total ? "" : `${what} ${done}/${total}`}`);
  };
  const folder = `${flags.runs ?? "runs"}/${config.name}`;
  const result = await trainRun(config, {
    folder,
    signal,
    finalPrompt: config.log.samplePrompt,
    onReady: ({ dataset, report, totalSteps }) => {
      const count = report.parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
      const { deviceMs, recordMs, compileMs, placeMs } = report.startup;
      say(
        `${dataset.source}: ${formatCount(dataset.trainTokens)} tokens to train on, ${
          formatCount(dataset.validationTokens)
        } held out`,
      );
      for (const file of dataset.skippedFiles) say(`left out, as it is no text: ${file}`);
      say(
        `${formatCount(count)} parameters, ${
          formatBytes(report.bytes.total)
        } on ${report.adapter}, ${totalSteps} steps`,
      );
      if (report.isSoftware) say("this is a software driver: everything works, but slowly");
      say(
        `ready after ${((deviceMs + recordMs + compileMs + placeMs) / 1000).toFixed(1)} s (${
          (compileMs / 1000).toFixed(1)
        } s of it compiling)`,
      );
    },
    onTune: (done, total) => live("measuring kernels", done, total),
    onCompile: (done, total) => live("compiling kernels", done, total),
    onProgress: (line) => {
      progress.update({
        ...line,
        flopsPerSecond: line.gflops * 1e9,
        remainingMs: line.etaSeconds * 1000,
      });
      emit({ ...line });
    },
    onValidation: (step, validation) => {
      const { loss, bitsPerByte, standardError } = validation;
      progress.say(
        `step ${step}: held-out loss ${loss.toFixed(4)} ± ${standardError.toFixed(4)}, ${
          bitsPerByte.toFixed(3)
        } bits/byte`,
      );
      emit({ step, validation });
    },
    onSample: (step, text) => progress.say(`step ${step} writes:\n${text}\n`),
    onMessage: (text) => progress.say(text),
  });
  progress.end();
  if (result.validation !== null) {
    const { loss, bitsPerByte, standardError } = result.validation;
    say(
      `held out: loss ${loss.toFixed(4)} ± ${standardError.toFixed(4)}, ${bitsPerByte.toFixed(3)} bits/byte`,
    );
    const orders = [2, 3, 4];
    const counts = ngramBitsPerByte(result.dataset.text("train"), result.dataset.text("validation"), orders);
    say(
      `for comparison, counts of byte sequences: ${
        orders.map((order, i) => `order ${order} ${counts[i].toFixed(3)}`).join(", ")
      }`,
    );
  }
  if (result.sample !== null) say(`\n${result.sample}\n`);
  const { steps, digest, interrupted, validation } = result;
  say(interrupted ? `stopped after step ${steps}; the same command goes on from there` : `digest ${digest}`);
  say(`the run lies in ${folder}: deno task generate ${folder} --prompt "${config.log.samplePrompt.trim()}"`);
  emit({ steps, digest, interrupted, validation, folder });
});

async function readConfig(path: string): Promise<{ path: string; text: string }> {
  try {
    return { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new UserError(`No config file ${path}: give a .jsonc file, or key=value settings`);
    }
    throw error;
  }
}
