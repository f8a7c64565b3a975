/**
 * What a piece of work asks of the disk, in order: `sync NAME` for a file or folder, `NAME -> NAME` for a rename. A power
 * cut can't be had in a test; what it would find follows from that order.
 */
import { basename } from "@std/path";

export async function diskOrder(work: () => Promise<unknown>): Promise<string[]> {
  const order: string[] = [];
  const names = new WeakMap<Deno.FsFile, string>();
  const { open, rename } = Deno;
  const { sync } = Deno.FsFile.prototype;
  Deno.open = async (path, options) => {
    const file = await open(path, options);
    names.set(file, basename(String(path)));
    return file;
  };
  Deno.FsFile.prototype.sync = function () {
    order.push(`sync ${names.get(this)}`);
    return sync.call(this);
  };
  Deno.rename = (from, to) => {
    order.push(`${basename(String(from))} -> ${basename(String(to))}`);
    return rename(from, to);
  };
  try {
    await work();
  } finally {
    Object.assign(Deno, { open, rename });
    Deno.FsFile.prototype.sync = sync;
  }
  return order;
}
