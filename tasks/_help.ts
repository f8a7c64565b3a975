import { describeOption, type Options } from "./_flags.ts";

/** What a verb is called, takes and does, as its help says it. */
export interface Verb<O extends Options> {
  readonly name: string;
  readonly summary: string;
  /** What follows `deno task NAME`: `[FILE] [KEY=VALUE...]`. */
  readonly usage: string;
  /** What is neither a flag nor a flag's value, by its name in `usage`. */
  readonly operands: { readonly [name: string]: string };
  readonly options: O;
  /** Command lines without `deno task NAME`, and what they do. */
  readonly examples: readonly (readonly [args: string, help: string])[];
}

/** What every verb takes. */
export const COMMON_OPTIONS = {
  json: { type: "boolean", help: "one JSON object a line on stdout, text for people on stderr" },
  help: { type: "boolean", help: "this text" },
} as const satisfies Options;

/** The text of `--help`. */
export function describeVerb({ name, summary, usage, operands, options, examples }: Verb<Options>): string {
  const command = `deno task ${name}`;
  const flags = Object.entries({ ...options, ...COMMON_OPTIONS });
  return [
    `${summary}\n`,
    `Usage: ${command} ${usage}\n${table(Object.entries(operands))}`,
    `Options:\n${table(flags.map(([flag, option]) => describeOption(flag, option)))}`,
    `Examples:\n${table(examples.map(([args, help]) => [`${command} ${args}`.trimEnd(), help]))}`,
    "Exit codes: 0 done, 1 a mistake in what was given, 2 a fault of ours, 75 try again, 130 stopped by a signal\n",
  ].join("\n");
}

/** Rows of two columns. */
function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join("");
}
