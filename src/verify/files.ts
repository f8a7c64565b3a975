import { UserError } from "../errors.ts";
import { messageOf, quote } from "../formats/file.ts";

/** @throws UserError if the file cannot be read */
export async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new UserError(`Cannot read ${quote(path)}: ${messageOf(error)}; check the path`);
  }
}

/** @param where what error messages call the text */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${where} is not JSON: ${messageOf(error)}; get the file again`);
  }
}

/** The names of the files in a folder. @throws UserError if it is no folder that can be read */
export function filesIn(folder: string): Set<string> {
  try {
    return new Set(Array.from(Deno.readDirSync(folder), ({ name }) => name));
  } catch (error) {
    throw new UserError(`Cannot read the folder ${quote(folder)}: ${messageOf(error)}; check the path`);
  }
}
