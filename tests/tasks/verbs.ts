import config from "../../deno.json" with { type: "json" };

/** What a verb's script came to. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a verb's script as `deno task` does. */
export function runTask(name: string, ...args: string[]): Promise<Ran> {
  return runTaskWith({}, name, ...args);
}

/** As `runTask`, with environment variables. */
export async function runTaskWith(
  env: Record<string, string>,
  name: string,
  ...args: string[]
): Promise<Ran> {
  const { code, stdout, stderr } = await commandWith(env, name, args).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

export function taskCommand(name: string, ...args: string[]): Deno.Command {
  return commandWith({}, name, args);
}

/** @param cwd where the verb runs; default: here */
export function commandWith(
  env: Record<string, string>,
  name: string,
  args: readonly string[],
  cwd?: string,
): Deno.Command {
  const script = new URL(`../../tasks/${name}.ts`, import.meta.url).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", ...permissionsOf(name), script, ...args],
    env: { NO_COLOR: "1", ...env },
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** What `deno task` gives a verb. */
function permissionsOf(name: string): string[] {
  const command = Object.entries(config.tasks).find(([task]) => task === name)?.[1] ?? "";
  return command.split(" ").filter((word) => word.startsWith("--"));
}

/** A tiny model with everything on that could make a resume differ: dropout, ramp-up, accumulation, virtual workers. */
export const TINY: readonly string[] = [
  "tokenizer=bytes",
  "model.numLayers=1",
  "model.modelDim=12",
  "model.numHeads=3",
  "model.seqLen=10",
  "model.dropout=0.1",
  "model.attentionDropout=0.1",
  "train.batchSize=6",
  "train.microBatchSize=2",
  'train.rampUp={"start":2,"increment":2,"samples":12}',
  "train.duration=12 steps",
  "scale.virtualWorkers=3",
  "validation.every=null",
  "checkpoint.every=3 steps",
  "log.every=1",
  "log.sampleTokens=3",
  "engine.tune=false",
];
