/** A word as it can be pasted into a shell: as it is, in double quotes, or in POSIX's single quotes. */
export function quoteForShell(word: string): string {
  if (/^[\w./:@%+,=-]+$/.test(word)) return word;
  if (!/["$`\\!\p{Cc}]/u.test(word)) return `"${word}"`;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
