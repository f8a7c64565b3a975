/** A time as lines for people have it: `2.3 s`, `12 s`. */
export function inSeconds(ms: number): string {
  const seconds = ms / 1000;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}
