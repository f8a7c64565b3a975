/**
 * Where text for people goes: a terminal, whose last line can be live, or a file. On a terminal control characters
 * are replaced by their pictures: what a model writes must not move the cursor or worse.
 */
export interface Screen {
  /** Characters in a line; null: there is no live line, as this is no terminal or one of unknown width. */
  readonly columns: number | null;
  /** Writes text in place of the live line. */
  write(text: string): void;
  /** Prints a line that stays, above the live line. */
  say(line: string): void;
  /** Puts text in place of the live line, `""` to remove it. Without a terminal nothing happens. */
  show(text: string): void;
}

const CLEAR_LINE = "\r\x1b[K";

/**
 * @param columnsNow is asked each time, since terminals change their width; null: no terminal, 0: a terminal that does not
 * know it
 */
export function openScreen(print: (text: string) => void, columnsNow: () => number | null): Screen {
  let live = "";
  const widthNow = () => columnsNow() || null;
  const printable = (text: string) => columnsNow() === null ? text : showControls(text);
  const replaceLive = (text: string) => print(live === "" ? text : CLEAR_LINE + text);
  return {
    get columns() {
      return widthNow();
    },
    write(text) {
      replaceLive(printable(text));
      live = "";
    },
    say(line) {
      replaceLive(`${printable(line)}\n${live}`);
    },
    show(text) {
      const columns = widthNow();
      if (columns === null) return;
      const line = showControls(text).slice(0, Math.max(0, columns - 1)); // a terminal wraps once its last column is written
      replaceLive(line);
      live = line;
    },
  };
}

/** Control characters but line ends and tabs as Unicode's pictures of them, `␛` for ESC; those of C1 as `�`. */
function showControls(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => {
    const code = control.charCodeAt(0);
    if (control === "\n" || control === "\t") return control;
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
  });
}
