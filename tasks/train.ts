import { type Plan, planRun } from "../src/api/plan.ts";
import { countBaselines, countParameters } from "../src/api/summary.ts";
import { type Ready, type TrainResult, trainRun } from "../src/api/train.ts";
import { describeDeviations } from "../src/config/derive.ts";
import { PRESETS, presetSummary } from "../src/config/presets.ts";
import type { RunConfig } from "../src/config/schema.ts";
import { UserError } from "../src/errors.ts";
import { type Call, runVerb } from "./_cli.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatEstimate,
  formatFlop,
  formatInteger,
} from "./_format.ts";
import { GPU_OPTION, takeGpu } from "./_gpu.ts";
import { describeGroupSize, JOIN_OPTIONS, keepsRun, readJoin, readNodes } from "./_join.ts";
import { openProgress } from "./_progress.ts";
import { readRunConfig, runFolder } from "./_runConfig.ts";
import { quoteForShell } from "./_shell.ts";

const options = {
  dryRun: { type: "boolean", help: "print parameters, memory and operations, and stop" },
  ...GPU_OPTION,
  ...JOIN_OPTIONS,
} as const;

const verb = {
  name: "train",
  summary:
    "Trains a model, in runs/<name>. Ctrl-C saves the last step, and the same command goes on from there.",
  usage: "[CONFIG.jsonc] [KEY=VALUE...]",
  operands: {
    "CONFIG.jsonc": "what differs from presets/default.jsonc, which has every key",
    "KEY=VALUE": "one setting, over the file's: model.numLayers=6 data=./texts train.duration=1e6tokens",
    "preset=NAME": "settings to start from, of those below",
    ...Object.fromEntries(
      Object.entries(PRESETS).map(([name, text]) => [`  ${name}`, presetSummary(text)]),
    ),
  },
  options,
  examples: [
    ["", "a small GPT on TypeScript declarations"],
    ["name=mine data=./texts", "on a text file or a folder of them"],
    ["my.jsonc seed=7", "as a config file says, but for the seed"],
    ["preset=gpt3-125m --dry-run", "what that would take"],
    ["my.jsonc --join ws://host:7777 --token-file token", "with the group of that coordinator"],
  ],
} as const;

await runVerb(verb, async (call) => {
  const { args, flags } = call;
  const folderOf = keepsRun(flags) ? (name: string) => runFolder(flags.runs, name) : () => null;
  const config = await readRunConfig(args, folderOf);
  await takeGpu(flags, call.say);
  await (flags.dryRun ? printPlan : train)(call, config, folderOf(config.name));
});

type TrainCall = Call<typeof options>;

async function printPlan(
  { flags, say, emit }: TrainCall,
  config: RunConfig,
  folder: string | null,
): Promise<void> {
  const plan = await planRun(config, { folder, nodes: readNodes(flags) ?? 1 });
  describeDeviations(config).forEach(say);
  const { corpus, obstacle, bytes: { weights, gradients, moments, activations, total } } = plan;
  say(`Adapter       ${plan.adapter}`);
  say(`Corpus        ${corpus ? describeCorpus(corpus) : "not read, as model.vocabSize is given"}`);
  say(`Parameters    ${formatInteger(plan.parameters)}`);
  say(`Weights       ${formatBytes(weights)}`);
  say(`Gradients     ${formatBytes(gradients)}`);
  say(`Moments       ${formatBytes(moments)}`);
  say(`Activations   ${formatBytes(activations)} (micro-batch of ${plan.microBatchSize})`);
  say(`Peak          ${formatBytes(total)}`);
  describeHost(plan.hostBytes, config.scale.virtualWorkers).forEach(say);
  say(`Operations    ${formatFlop(plan.flopsPerStep)} a step`);
  say(`Steps         ${formatInteger(plan.totalSteps)}`);
  if (obstacle !== null) say(`Does not fit  ${obstacle}`);
  emit({ ...plan });
}

/** The host's memory, where a run takes some that counts. */
function describeHost({ waiting, rounding, group }: Plan["hostBytes"], virtualWorkers: number): string[] {
  const parts = [[waiting, "for partial sums"], [rounding, "for what is rounded"]] as const;
  const lines = parts.filter(([bytes]) => bytes > 0).map(([bytes, purpose]) => {
    return `Host          ${formatBytes(bytes)} ${purpose}`;
  });
  if (group === null) return lines;
  const { nodes, sums, copies, links, newcomer } = group;
  return [
    ...lines,
    `Group         ${formatBytes(sums + copies + links)} of each host's memory (${
      describeGroupSize(nodes, virtualWorkers)
    }): ${formatBytes(sums)} for sums, at most ${formatBytes(copies)} on the way from the GPU, ${
      formatBytes(links)
    } between nodes`,
    `Newcomers     ${formatBytes(newcomer)} more at most, on a node from which one copies`,
  ];
}

/** @param folder null: another node of the group keeps the run */
async function train(
  { flags, signal, screen, say, emit }: TrainCall,
  config: RunConfig,
  folder: string | null,
): Promise<void> {
  const join = await readJoin(flags, config.scale.virtualWorkers, say);
  if (join === null && flags.nodes !== undefined) {
    throw new UserError(
      "--nodes is given, but no group to train with; expected --join URL or --dry-run, too",
    );
  }
  if (join === null && flags.quiet) {
    throw new UserError("--quiet is given, but no group to be quiet about; expected --join URL, too");
  }
  const isKept = folder !== null;
  const count = (what: string) => (done: number, total: number) => {
    screen.show(done === total ? "" : `${what} ${done}/${total}`);
  };
  const tell = isKept ? say : () => {}; // others would only repeat it
  let totalSteps = Infinity;
  const progress = openProgress(screen);
  try {
    const result = await trainRun(config, {
      folder,
      fallbackFolder: folder === null ? runFolder(flags.runs, config.name) : undefined,
      signal,
      join: join ?? undefined,
      finalPrompt: isKept ? config.log.samplePrompt : null,
      onReady: (ready) => {
        totalSteps = ready.totalSteps;
        describeReady(ready).forEach(say);
      },
      onTune: count("measuring kernels"),
      onCompile: count("compiling kernels"),
      onWeights: count("filling in weights"),
      onProgress: (line) => {
        if (isKept) progress.update(line);
        emit({ ...line });
      },
      onValidation: (step, validation) => {
        // at the last step the whole held-out part follows
        if (step < totalSteps) tell(`step ${formatInteger(step)}: held-out ${describeLoss(validation)}`);
        emit({ step, validation });
      },
      onSample: isKept ? (step, text) => say(`step ${formatInteger(step)} writes:\n${text}\n`) : undefined,
      onMessage: say,
    });
    progress.end();
    const { steps, digest, interrupted, validation } = result;
    describeResult(result, config.log.samplePrompt).forEach(result.folder === null ? tell : say);
    emit({ steps, digest, interrupted, validation, folder: result.folder });
  } finally {
    progress.end();
  }
}

function describeReady({ dataset, report, totalSteps }: Ready): string[] {
  const { deviceMs, recordMs, compileMs, placeMs } = report.startup;
  const parameters = formatCount(countParameters(report));
  const memory = formatBytes(report.bytes.total);
  const startup = formatDuration(deviceMs + recordMs + compileMs + placeMs);
  return [
    describeCorpus(dataset),
    ...dataset.skippedFiles.map((file) => `left out, as it is no text: ${file}`),
    `${parameters} parameters, ${memory} on ${report.adapter}, ${formatInteger(totalSteps)} steps`,
    ...(report.isSoftware ? ["this is a software driver: everything works, but slowly"] : []),
    `ready after ${startup} (${formatDuration(compileMs)} of it compiling)`,
  ];
}

function describeResult(result: TrainResult, samplePrompt: string): string[] {
  const { steps, digest, interrupted, validation, sample, dataset, folder } = result;
  if (interrupted) {
    const where = folder === null ? "" : `; the same command goes on from there (${folder})`;
    return [`stopped after step ${formatInteger(steps)}${where}`];
  }
  const lines: string[] = [];
  if (validation !== null) {
    const counts = countBaselines(dataset).map(({ order, bitsPerByte }) => {
      return `${bitsPerByte.toFixed(3)} (order ${order})`;
    });
    lines.push(`held out: ${describeLoss(validation)}`);
    lines.push(`for comparison, counts of byte sequences: ${counts.join(", ")} bits/byte`);
  }
  if (sample !== null) lines.push(`\n${sample}\n`);
  // any beginning of the sample can be written in the tokenizer's characters, the wanted prompt perhaps not
  const prompt = sample === null || sample.startsWith(samplePrompt) ? samplePrompt : sample.slice(0, 10);
  lines.push(`digest ${digest}`);
  if (folder === null) return lines;
  return [
    ...lines,
    `the run lies in ${folder}: deno task generate ${quoteForShell(folder)} --prompt ${
      quoteForShell(prompt)
    }`,
  ];
}

function describeCorpus({ source, trainTokens, validationTokens }: NonNullable<Plan["corpus"]>): string {
  const [train, heldOut] = [trainTokens, validationTokens].map(formatInteger);
  return `${source}: ${train} tokens to train on, ${heldOut} held out`;
}

function describeLoss(validation: NonNullable<TrainResult["validation"]>): string {
  const { loss, standardError, bitsPerByte } = validation;
  return `loss ${formatEstimate(loss, standardError)}, ${bitsPerByte.toFixed(3)} bits/byte`;
}
