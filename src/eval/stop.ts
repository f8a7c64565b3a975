/** Lets a text through, piece by piece, up to the first of some stop strings. */
export interface StopFilter {
  /** A stop string has come: nothing more is let through. */
  readonly isStopped: boolean;
  /** The text that can be shown now: what may yet turn out to begin a stop string is held back. */
  push(piece: string): string;
  /** What was held back, once nothing follows. */
  end(): string;
}

/**
 * The text ends before the stop string that is complete first, of those complete at the same place before the longest.
 * What comes out does not depend on how the text is cut into pieces.
 */
export function stopFilter(stops: readonly string[]): StopFilter {
  let held = "";
  let isStopped = false;
  return {
    get isStopped() {
      return isStopped;
    },
    push(piece) {
      if (isStopped) return "";
      held += piece;
      const start = firstStop(held, stops);
      isStopped = start !== null;
      const shown = held.slice(0, start ?? held.length - possibleStart(held, stops));
      held = isStopped ? "" : held.slice(shown.length);
      return shown;
    },
    end() {
      const rest = held;
      held = "";
      return rest;
    },
  };
}

/** Where the stop string starts that ends first. */
function firstStop(text: string, stops: readonly string[]): number | null {
  const found = stops
    .map((stop) => ({ start: text.indexOf(stop), length: stop.length }))
    .filter(({ start }) => start >= 0)
    .sort((a, b) => a.start + a.length - b.start - b.length || b.length - a.length);
  return found.length > 0 ? found[0].start : null;
}

/** The length of the longest end of `text` with which a stop string begins. */
function possibleStart(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(-length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}
