/** Where text for people goes: a terminal, whose last line can be live, or a file. */
export interface Screen {
  /** Characters in a line; null: this is no terminal. */
  readonly columns: number | null;
  /** Writes text as it is, in place of the live line. */
  write(text: string): void;
  /** Prints a line that stays, above the live line. */
  say(line: string): void;
  /** Puts text in place of the live line, `""` to remove it. Without a terminal nothing happens. */
  show(text: string): void;
}

const CLEAR_LINE = "\r\x1b[K";

/** @param columnsNow is asked each time, since terminals change their width */
export function openScreen(print: (text: string) => void, columnsNow: () => number | null): Screen {
  let live = "";
  const replaceLive = (text: string) => print(live === "" ? text : CLEAR_LINE + text);
  return {
    get columns() {
      return columnsNow();
    },
    write(text) {
      replaceLive(text);
      live = "";
    },
    say(line) {
      replaceLive(`${line}\n${live}`);
    },
    show(text) {
      const columns = columnsNow();
      if (columns === null) return;
      const line = text.slice(0, Math.max(0, columns - 1)); // a terminal wraps once its last column is written
      replaceLive(line);
      live = line;
    },
  };
}
