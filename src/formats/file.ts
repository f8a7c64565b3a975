import { UserError } from "../errors.ts";

/** Bytes that are read by position: a file, or memory. `name` is what error messages call it. */
export interface ByteSource extends Disposable {
  readonly name: string;
  readonly size: number;
  /** Fills an array with what is there from `offset` on, and returns it. */
  read(offset: number, into: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

/** @throws UserError if `path` is no file that can be read. */
export function fileSource(path: string): ByteSource {
  let file: Deno.FsFile;
  let size: number;
  try {
    const info = Deno.statSync(path); // first, since opening a pipe would wait
    if (!info.isFile) throw new Error("it is not a file");
    size = info.size;
    file = Deno.openSync(path);
  } catch (error) {
    throw new UserError(`Cannot read ${quote(path)}: ${messageOf(error)}; check the path`);
  }
  return {
    name: path,
    size,
    read(offset, into) {
      file.seekSync(offset, Deno.SeekMode.Start);
      for (let done = 0; done < into.length;) {
        const count = file.readSync(into.subarray(done));
        if (count === null) {
          throw new UserError(`${quote(path)} became shorter while it was read; read it again`);
        }
        done += count;
      }
      return into;
    },
    [Symbol.dispose]: () => file.close(),
  };
}

export function memorySource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read(offset, into) {
      into.set(bytes.subarray(offset, offset + into.length));
      return into;
    },
    [Symbol.dispose]: () => {},
  };
}

/** Throws what a failed write comes to for the user. */
export function cannotWrite(path: string, error: unknown): never {
  const advice = error instanceof Deno.errors.NotCapable
    ? "choose another folder"
    : "check the folder and its free space";
  throw new UserError(`Cannot write ${quote(path)}: ${messageOf(error)}; ${advice}`);
}

/** Text or a value from a file, fit for a one-line message: quoted, control characters escaped, at most 100 characters. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  const short = text.length > 100 ? `${text.slice(0, 97)}...` : text;
  return onOneLine(short);
}

/** Control characters escaped: of what others wrote nothing breaks the line, or moves the terminal's cursor. */
function onOneLine(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** Deno adds the error's number and the system call, which tell a user nothing: ` (os error 2): readfile 'a.txt'`. */
const SYSTEM_CALL = / \(os error \d+\)(: \w+ '.*?'( -> '.*?')?(?=[;:,)]|$))?/g;

/** Deno's answer to a path such as /proc/x, where more than permissions to read and write is asked for. */
const SYSTEM_PATH = /^Requires all access to (".*"), run again with the --allow-all flag$/;

/** What an error says, on one line, without the numbers and names of system calls. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return onOneLine(text.replaceAll(SYSTEM_CALL, "").replace(SYSTEM_PATH, "Deno keeps programs out of $1"));
}
