/** Types of what the project uses of `@std/jsonc`, which comes as JavaScript; see deno.json's imports. */

/** Parses JSON with comments and trailing commas. Throws SyntaxError with the position in its message. */
export function parse(text: string): unknown;
