/**
 * Turns the WGSL templates of `shaders/` into code. Directives stand on lines of their own, as WGSL comments:
 *
 *     //# for i in 0..TM          repeats the lines down to `end`, with i bound
 *     //# if ACC && !BIAS         keeps the lines if the expression is not 0; `else` is allowed
 *     //# end
 *     //# let D4 = (HS + 3) / 4   a constant for the rest of the file (or of the loop's body)
 *     //# include random          the lines of another file
 *     //# tensor x : read         a storage binding with accessors: load_x(i), store_x(i, value), see declare.ts
 *     //# threads 64              threads of a workgroup; the shader's kernel(group, thread) is what they run
 *     //# uniforms rows cols      fields of the dispatch's uniforms, `u.rows` (u32; `eps:f32` for floats)
 *
 * and `${expression}` anywhere in a line is replaced by its value.
 */
import { type Constant, evaluate } from "./expression.ts";

/** Constants of a variant, by upper-case name; booleans become 0 and 1. */
export type Constants = Readonly<Record<string, Constant | boolean>>;

export interface TemplateFile {
  /** As in error messages: `matmul.wgsl`. */
  readonly name: string;
  readonly text: string;
}

export interface Expanded {
  readonly lines: readonly string[];
  /** Where each line comes from: `matmul.wgsl:12`. */
  readonly origins: readonly string[];
}

/** What a directive that the expander itself does not know turns into: lines of WGSL. */
export type Declare = (directive: string, rest: string) => readonly string[] | null;

interface Line {
  readonly text: string;
  readonly origin: string;
}

const DIRECTIVE = /^\s*\/\/#\s*(\w+)\s*(.*?)\s*$/;

/** Expands a template. @throws Error that names file and line. */
export function expand(
  file: TemplateFile,
  constants: Constants,
  includes: ReadonlyMap<string, TemplateFile>,
  declare: Declare,
): Expanded {
  const lines: string[] = [];
  const origins: string[] = [];

  function fail(line: Line, error: unknown): never {
    throw new Error(`${line.origin}: ${error instanceof Error ? error.message : String(error)}`);
  }

  function toLines(source: TemplateFile): Line[] {
    return source.text.split("\n").map((text, i) => ({ text, origin: `${source.name}:${i + 1}` }));
  }

  /** The index of the `end` (or `else`) that belongs to the block opened at `open`. */
  function closing(body: readonly Line[], open: number, allowElse: boolean): number {
    let depth = 0;
    for (let i = open + 1; i < body.length; i++) {
      const word = DIRECTIVE.exec(body[i].text)?.[1];
      if (word === "for" || word === "if") depth++;
      if (depth === 0 && (word === "end" || (allowElse && word === "else"))) return i;
      if (word === "end") depth--;
    }
    return fail(body[open], "no matching end");
  }

  function walk(body: readonly Line[], scope: Map<string, Constant>): void {
    for (let i = 0; i < body.length; i++) {
      const line = body[i];
      const match = DIRECTIVE.exec(line.text);
      try {
        if (match === null) {
          const text = line.text.replace(
            /\$\{([^}]*)\}/g,
            (_, expression) => String(evaluate(expression, scope)),
          );
          lines.push(text);
          origins.push(line.origin);
          continue;
        }
        const [, word, rest] = match;
        if (word === "for") {
          const end = closing(body, i, false);
          const range = /^(\w+)\s+in\s+(.+?)\.\.(.+)$/.exec(rest);
          if (range === null) throw new Error(`expected "for i in a..b", found "for ${rest}"`);
          const from = Number(evaluate(range[2], scope));
          const to = Number(evaluate(range[3], scope));
          for (let value = from; value < to; value++) {
            walk(body.slice(i + 1, end), new Map(scope).set(range[1], value));
          }
          i = end;
        } else if (word === "if") {
          const middle = closing(body, i, true);
          const hasElse = DIRECTIVE.exec(body[middle].text)?.[1] === "else";
          const end = hasElse ? closing(body, middle, false) : middle;
          if (evaluate(rest, scope) !== 0) walk(body.slice(i + 1, middle), scope);
          else if (hasElse) walk(body.slice(middle + 1, end), scope);
          i = end;
        } else if (word === "let") {
          const definition = /^(\w+)\s*=\s*(.+)$/.exec(rest);
          if (definition === null) throw new Error(`expected "let NAME = expression", found "let ${rest}"`);
          scope.set(definition[1], evaluate(definition[2], scope));
        } else if (word === "include") {
          const included = includes.get(rest);
          if (included === undefined) throw new Error(`no shader file ${rest} to include`);
          walk(toLines(included), scope);
        } else {
          const filled = rest.replace(
            /\$\{([^}]*)\}/g,
            (_, expression) => String(evaluate(expression, scope)),
          );
          const declared = declare(word, filled);
          if (declared === null) throw new Error(`unknown directive "${word}"`);
          for (const text of declared) {
            lines.push(text);
            origins.push(line.origin);
          }
        }
      } catch (error) {
        if (error instanceof Error && /^[\w.]+:\d+: /.test(error.message)) throw error;
        fail(line, error);
      }
    }
  }

  const scope = new Map<string, Constant>();
  for (const [name, value] of Object.entries(constants)) {
    scope.set(name, typeof value === "boolean" ? Number(value) : value);
  }
  walk(toLines(file), scope);
  return { lines, origins };
}
