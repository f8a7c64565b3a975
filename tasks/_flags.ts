import { parseArgs } from "node:util";
import { nearest } from "../src/config/nearest.ts";
import { UserError } from "../src/errors.ts";

/** A flag of a verb. `strings` may be given several times. */
export interface Option {
  readonly type: "boolean" | "string" | "number" | "strings";
  readonly help: string;
  /** What the help calls the value: `N`, `FILE`. */
  readonly value?: string;
}

/** By name in camelCase; `dryRun` is `--dry-run` on the command line. */
export type Options = { readonly [name: string]: Option };

interface Values {
  boolean: boolean;
  string: string | undefined;
  number: number | undefined;
  strings: readonly string[];
}

/** What was given for each option. */
export type Flags<O extends Options> = { readonly [Name in keyof O]: Values[O[Name]["type"]] };

/** Takes the flags out of a command line; what is left are the arguments. Throws UserError on unknown flags and bad values. */
export function parseFlags<O extends Options>(
  options: O,
  argv: readonly string[],
): { flags: Flags<O>; args: string[] } {
  const names = new Map(Object.keys(options).map((name) => [flagOf(name), name]));
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { type }]) => {
        const kind = type === "boolean" ? "boolean" as const : "string" as const;
        return [flagOf(name).slice(2), { type: kind, ...(name === "help" ? { short: "h" } : {}) }];
      }),
    ),
    strict: false, // our own errors name the nearest flag
    tokens: true,
  });

  const args: string[] = [];
  const flags: Record<string, Values[Option["type"]]> = {};
  for (const [name, { type }] of Object.entries(options)) {
    flags[name] = type === "boolean" ? false : type === "strings" ? [] : undefined;
  }
  for (const token of tokens) {
    if (token.kind === "positional") args.push(token.value);
    if (token.kind !== "option") continue;
    const name = names.get(`--${token.name}`);
    if (name === undefined) {
      const near = nearest(token.name, [...names.keys()], (flag) => flag.slice(2));
      const hint = near === null ? "--help lists the known ones" : `the nearest known one is ${near}`;
      throw new UserError(`Unknown flag ${token.rawName}, ${hint}`);
    }
    const { type } = options[name];
    if (type === "boolean") {
      if (token.value !== undefined) {
        throw new UserError(`${token.rawName} takes no value, found ${token.value}`);
      }
      flags[name] = true;
      continue;
    }
    const { value, inlineValue } = token;
    if (value === undefined || (!inlineValue && value.startsWith("--"))) {
      throw new UserError(`${token.rawName} needs a value, found ${value ?? "nothing"}`);
    }
    if (type === "string") flags[name] = value;
    else if (type === "number") flags[name] = numberOf(token.rawName, value);
    else flags[name] = [...flags[name] as readonly string[], value];
  }
  return { flags: flags as Flags<O>, args };
}

/** An option as help shows it: its flag with what the value is called, and what it is for. */
export function describeOption(name: string, { type, value, help }: Option): readonly [string, string] {
  if (name === "help") return ["-h, --help", help];
  return [
    type === "boolean" ? flagOf(name) : `${flagOf(name)} ${value ?? (type === "number" ? "N" : "TEXT")}`,
    help,
  ];
}

/** `topP` as `--top-p`. */
export function flagOf(name: string): string {
  return "--" + name.replaceAll(/[A-Z]/g, (letter) => "-" + letter.toLowerCase());
}

function numberOf(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new UserError(`${flag} is ${JSON.stringify(text)}, expected a number`);
}
