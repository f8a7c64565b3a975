/** Of the work that a sum's values take on the thread that sends heartbeats: some 50 ms. */
const PORTION = 2 ** 24;

/** Works on [from, to) bit by bit, so that what else is due on this thread comes in between, until the signal comes. */
export async function inPortions(
  from: number,
  to: number,
  work: (from: number, to: number) => void,
  signal: AbortSignal,
  portion = PORTION,
): Promise<void> {
  for (let at = from; at < to && !signal.aborted; at += portion) {
    if (at > from) await new Promise((resolve) => setTimeout(resolve));
    work(at, Math.min(at + portion, to));
  }
}
