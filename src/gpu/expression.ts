/**
 * Integer expressions in shader templates: `TM * 4 + i`, `ACC && !BIAS`, `D4 - 1`, `KIND == gelu`.
 *
 * Values are numbers; true is 1, false is 0; `/` is integer division. A constant may be a word, which compares with
 * `==` and `!=` to an unknown name, taken as that word.
 */

export type Constant = number | string;
export type Scope = ReadonlyMap<string, Constant>;

const TOKEN = /\s*(?:(\d+)|([A-Za-z_]\w*)|(\|\||&&|==|!=|<=|>=|[-+*/%<>!()?:]))/y;

/** Binary operators, the loosest first. */
const LEVELS: readonly (readonly string[])[] = [["||"], ["&&"], ["==", "!="], ["<", ">", "<=", ">="], [
  "+",
  "-",
], [
  "*",
  "/",
  "%",
]];

function tokenize(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`unexpected "${text.slice(at).trim()}" in "${text}"`);
    tokens.push(match[1] ?? match[2] ?? match[3]);
  }
  return tokens;
}

function apply(operator: string, a: Constant, b: Constant): number {
  if (operator === "==") return Number(a === b);
  if (operator === "!=") return Number(a !== b);
  if (typeof a !== "number" || typeof b !== "number") {
    throw new Error(`"${a} ${operator} ${b}" needs numbers`);
  }
  if (b === 0 && (operator === "/" || operator === "%")) {
    throw new Error(`"${a} ${operator} ${b}" divides by 0`);
  }
  switch (operator) {
    case "||":
      return Number(a !== 0 || b !== 0);
    case "&&":
      return Number(a !== 0 && b !== 0);
    case "<":
      return Number(a < b);
    case ">":
      return Number(a > b);
    case "<=":
      return Number(a <= b);
    case ">=":
      return Number(a >= b);
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return Math.trunc(a / b);
    default:
      return a % b;
  }
}

/** Evaluates an expression. @throws Error with what was wrong. */
export function evaluate(text: string, scope: Scope): Constant {
  const tokens = tokenize(text);
  let at = 0;

  function primary(): Constant {
    const token = tokens[at++];
    if (token === undefined) throw new Error(`"${text}" ends too early`);
    if (token === "(") {
      const value = ternary();
      if (tokens[at++] !== ")") throw new Error(`missing ")" in "${text}"`);
      return value;
    }
    if (token === "!" || token === "-") {
      const value = primary();
      if (typeof value !== "number") throw new Error(`"${token}${value}" needs a number`);
      return token === "!" ? Number(value === 0) : -value;
    }
    if (/^\d/.test(token)) return Number(token);
    if (/^\w/.test(token)) return scope.get(token) ?? unknownName(token);
    throw new Error(`unexpected "${token}" in "${text}"`);
  }

  // A lower-case name that is no constant stands for itself; constants are upper case and must exist.
  function unknownName(name: string): Constant {
    if (/^[A-Z]/.test(name)) throw new Error(`unknown constant ${name}`);
    return name;
  }

  function binary(level: number): Constant {
    if (level === LEVELS.length) return primary();
    let value = binary(level + 1);
    while (LEVELS[level].includes(tokens[at])) {
      const operator = tokens[at++];
      value = apply(operator, value, binary(level + 1));
    }
    return value;
  }

  function ternary(): Constant {
    const condition = binary(0);
    if (tokens[at] !== "?") return condition;
    at++;
    const yes = ternary();
    if (tokens[at++] !== ":") throw new Error(`missing ":" in "${text}"`);
    const no = ternary();
    return condition !== 0 ? yes : no;
  }

  const value = ternary();
  if (at < tokens.length) throw new Error(`unexpected "${tokens[at]}" in "${text}"`);
  return value;
}
