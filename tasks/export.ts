import { exportModel, type ExportOptions } from "../src/api/convert.ts";
import { UserError } from "../src/errors.ts";
import { parseByteSize } from "../src/formats/hf/shards.ts";
import { runVerb } from "./_cli.ts";
import { formatInteger } from "./_format.ts";
import { MODEL_OPERAND } from "./_operands.ts";

const options = {
  dtype: { type: "string", value: "TYPE", help: "f32, f16 or bf16 (default: what each tensor is stored in)" },
  maxShardSize: {
    type: "string",
    value: "SIZE",
    help: "cut larger weights into several files (default: 5GB)",
  },
} as const;

const verb = {
  name: "export",
  summary: "Writes a model as Hugging Face's transformers load it.",
  usage: "MODEL DIR [--dtype TYPE]",
  operands: { ...MODEL_OPERAND, DIR: "the folder to make" },
  options,
  examples: [
    ["runs/default out", "the newest checkpoint"],
    ["runs/default out --dtype bf16 --max-shard-size 2GB", "in half the bytes, in files of at most 2 GB"],
  ],
} as const;

const DTYPES = ["f32", "f16", "bf16"] as const;

await runVerb(verb, async ({ flags, args, signal, screen, say, emit }) => {
  if (args.length !== 2) {
    throw new UserError(`Found ${args.join(" and ") || "nothing"}, expected a model and the folder to make`);
  }
  const [from, folder] = args;
  const exportOptions: ExportOptions = {
    dtype: dtypeOf(flags.dtype),
    maxShardBytes: flags.maxShardSize === undefined ? undefined : parseByteSize(flags.maxShardSize),
    signal,
    onMessage: say,
    onProgress: (done, total) => screen.show(`tensor ${done}/${total}`),
  };
  const { modelType, parameters, files } = await exportModel(from, folder, exportOptions)
    .finally(() => screen.show(""));
  say(`${folder}: a ${modelType} model with ${formatInteger(parameters)} parameters (${files.join(", ")})`);
  emit({ folder, modelType, parameters, files });
});

function dtypeOf(text: string | undefined): ExportOptions["dtype"] {
  const found = DTYPES.find((dtype) => dtype === text);
  if (text === undefined || found !== undefined) return found;
  throw new UserError(`--dtype is ${text}, expected ${DTYPES.join(", ")}`);
}
