import { basename, resolve } from "@std/path";
import { importModel } from "../src/api/convert.ts";
import { runSchema } from "../src/config/schema.ts";
import { UserError } from "../src/errors.ts";
import { runVerb } from "./_cli.ts";
import { formatInteger } from "./_format.ts";
import { runFolder } from "./_runConfig.ts";
import { quoteForShell } from "./_shell.ts";

const options = {
  name: { type: "string", value: "NAME", help: "what the model is called here (default: its folder's name)" },
  runs: { type: "string", value: "DIR", help: "the folder of all runs (default: runs)" },
} as const;

const verb = {
  name: "import",
  summary:
    "Takes in a model of Hugging Face (GPT-2, BLOOM, GPT-NeoX, LLaMA, T5), to generate, evaluate and train on.",
  usage: "DIR [--name NAME]",
  operands: { DIR: "a folder with config.json and the weights in safetensors, in one file or several" },
  options,
  examples: [
    ["downloads/pythia-70m", "into runs/pythia-70m"],
    ["downloads/pythia-70m --name base", "into runs/base, to train on it with from=runs/base"],
  ],
} as const;

await runVerb(verb, async ({ flags, args, signal, screen, say, emit }) => {
  if (args.length !== 1) {
    throw new UserError(`Found ${args.join(" and ") || "no folder"}, expected the folder of one model`);
  }
  const name = flags.name ?? basename(resolve(args[0]));
  if (!runSchema.shape.name.safeParse(name).success) {
    throw new UserError(
      `The model's name would be ${name}, expected letters, digits, dots, dashes: give a --name`,
    );
  }
  const folder = runFolder(flags.runs, name);
  const onProgress = (done: number, total: number) => screen.show(`tensor ${done}/${total}`);
  const { modelType, parameters, noText } = await importModel(args[0], folder, { signal, onProgress })
    .finally(() => screen.show(""));
  say(`${folder}: a ${modelType} model with ${formatInteger(parameters)} parameters`);
  const quoted = quoteForShell(folder);
  if (noText === "") {
    say(`try it: deno task generate ${quoted}`);
    say(`train on it: deno task train from=${quoted}`);
  } else {
    say(noText);
    say(`from=${quoted} can't train on texts before it has a tokenizer.json that is understood`);
  }
  emit({ folder, modelType, parameters });
});
