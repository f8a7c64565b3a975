/** What is told, and who may end it, while something long goes on. */
export interface Watch {
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Lets the event loop turn, so that an abort can arrive, then ends with its reason. Nothing without a signal.
 *
 * @throws the signal's reason once it is aborted
 */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal.throwIfAborted();
}
