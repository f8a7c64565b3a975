import { Buffer } from "node:buffer";
import { UserError } from "../errors.ts";
import { messageOf } from "../formats/file.ts";

/** A text to train on. */
export interface Corpus {
  readonly text: string;
  /** UTF-16 units at which each file's text starts, ascending. */
  readonly fileStarts: readonly number[];
  /** Where it comes from, for people. */
  readonly source: string;
  /** Files of the folder that were left out because they are not text. */
  readonly skipped: readonly string[];
}

/** V8's longest string, in UTF-16 units; a text has at most one for each of its bytes. */
const MAX_BYTES = 2 ** 29 - 24;

/**
 * Reads a UTF-8 text file, or all text files of a folder and of the folders in it, ordered bytewise by relative path;
 * hidden files are left out, and each text ends in a line end. Throws UserError for a missing path, a file that is
 * not text, and an empty corpus.
 */
export async function readCorpus(path: string): Promise<Corpus> {
  if (!(await statCorpus(path)).isDirectory) {
    const text = await readText(path);
    if (text === null) throw notText(path);
    if (text === "") throw new UserError(`${path} is empty: set data to a file or folder with text in it`);
    return { text, fileStarts: [0], source: path, skipped: [] };
  }

  const texts: string[] = [];
  const fileStarts: number[] = [];
  const skipped: string[] = [];
  let units = 0;
  const names = (await listFiles(path, "")).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const name of names) {
    const content = await readText(`${path}/${name}`);
    if (content === null) skipped.push(name);
    if (content === null || content === "") continue;
    const text = content.endsWith("\n") ? content : `${content}\n`;
    texts.push(text);
    fileStarts.push(units);
    units += text.length;
    if (units > MAX_BYTES) throw tooLarge(path);
  }
  if (texts.length === 0) {
    throw new UserError(
      `Folder ${path} has no text: found ${names.length} files, ${skipped.length} of them binary`,
    );
  }
  return { text: texts.join(""), fileStarts, source: path, skipped };
}

/** Is there a file or a folder? Throws UserError if not. */
export async function statCorpus(path: string): Promise<Deno.FileInfo> {
  return await Deno.stat(path).catch((error: Error) => {
    throw new UserError(
      `Cannot read the corpus ${path}: ${messageOf(error)}: set data to a text file or a folder`,
    );
  });
}

/** The output of `deno types`: about 720 KB of TypeScript declarations that every Deno carries. */
export async function embeddedCorpus(): Promise<Corpus> {
  if (Deno.build.standalone) {
    throw new UserError(
      "The embedded corpus comes from the deno command, which a compiled program lacks: set data",
    );
  }
  const command = new Deno.Command(Deno.execPath(), {
    args: ["types"],
    env: { NO_COLOR: "1" },
    stderr: "piped",
  });
  const { success, stdout, stderr } = await command.output();
  if (!success) {
    throw new UserError(
      `The command deno types failed: ${new TextDecoder().decode(stderr).trim()}: set data to a text file`,
    );
  }
  return {
    text: new TextDecoder().decode(stdout),
    fileStarts: [0],
    source: `deno types, Deno ${Deno.version.deno}`,
    skipped: [],
  };
}

/** The text of a file in chunks, for texts of any length. Throws UserError if it can't be read or is not text. */
export async function* textChunks(path: string): AsyncGenerator<string> {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  try {
    using file = await Deno.open(path);
    const buffer = new Uint8Array(1 << 16);
    for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
      const bytes = buffer.subarray(0, count);
      if (bytes.includes(0)) throw notText(path);
      yield utf8.decode(bytes, { stream: true });
    }
    yield utf8.decode();
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (error instanceof TypeError) throw notText(path);
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
}

/** Paths relative to `root`, with slashes. Links to files are followed, links to folders are not: they can be circles. */
async function listFiles(root: string, folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(`${root}/${folder}`)) {
    if (entry.name.startsWith(".")) continue;
    const name = folder + entry.name;
    if (entry.isDirectory) files.push(...await listFiles(root, `${name}/`));
    else if (entry.isFile || (await Deno.stat(`${root}/${name}`)).isFile) files.push(name);
  }
  return files;
}

/** null: not text. */
async function readText(path: string): Promise<string | null> {
  const bytes = await Deno.readFile(path).catch((error: Error) => {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  });
  if (bytes.length > MAX_BYTES) throw tooLarge(path);
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function notText(path: string): UserError {
  return new UserError(`${path} is not text (it has NUL bytes or invalid UTF-8): expected UTF-8 text`);
}

function tooLarge(path: string): UserError {
  return new UserError(
    `The text of ${path} is larger than ${MAX_BYTES >> 20} MiB, the most that is read: use a part`,
  );
}
