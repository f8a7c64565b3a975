/** Types of what the project uses of `@std/cli/parse-args`, which comes as JavaScript; see deno.json's imports. */

export interface ParseOptions {
  readonly string?: string | readonly string[];
  readonly boolean?: boolean | string | readonly string[];
  readonly collect?: string | readonly string[];
  readonly negatable?: string | readonly string[];
  readonly default?: Readonly<Record<string, unknown>>;
  readonly alias?: Readonly<Record<string, string | readonly string[]>>;
  readonly stopEarly?: boolean;
  /** What follows `--` goes to the key `--`, not to `_`. */
  readonly "--"?: boolean;
  /** Called with each argument that is not configured; false leaves it out of the result. */
  readonly unknown?: (argument: string, key?: string, value?: unknown) => unknown;
}

/** `_` holds the positional arguments, as strings if `string` names `_`. */
export interface Arguments {
  readonly _: readonly (string | number)[];
  readonly [flag: string]: unknown;
}

export function parseArgs(args: readonly string[], options?: ParseOptions): Arguments;
