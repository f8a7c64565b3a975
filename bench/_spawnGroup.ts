/** Processes that form a group with one another, see `_groupNode.ts`. */
import { fromFileUrl } from "@std/path";
import type { Place } from "./_groupNode.ts";
import { throttle } from "./_throttle.ts";

const CONFIG = fromFileUrl(new URL("./deno.json", import.meta.url));

/**
 * Runs a process for each place to its end.
 *
 * @param script what each runs, with its place as JSON
 * @param tell takes what a process prints
 * @param bytesPerMs what each may send; by default as much as it can
 */
export async function spawnGroup<Result>(
  script: URL,
  places: readonly Place[],
  tell: (result: Result) => void,
  bytesPerMs?: number,
): Promise<void> {
  const children = places.map((place) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-c", CONFIG, fromFileUrl(script), JSON.stringify(place)],
      stdin: "piped",
      stdout: "piped",
    }).spawn()
  );
  const stop = new AbortController();
  try {
    const outputs = children.map(({ stdout }) => linesOf(stdout));
    const own = await Promise.all(outputs.map(async (lines) => Number((await lines.next()).value)));
    const ports = bytesPerMs === undefined ? own : own.map((port) => throttle(port, bytesPerMs, stop.signal));
    const writers = children.map(({ stdin }) => stdin.getWriter());
    for (const writer of writers) await writer.write(new TextEncoder().encode(JSON.stringify(ports)));
    await Promise.all(outputs.map(async (lines) => {
      for (let { value } = await lines.next(); value !== "done"; { value } = await lines.next()) {
        if (value === undefined) throw new Error("A member ended before the others");
        tell(JSON.parse(value));
      }
    }));
    for (const writer of writers) await writer.close();
    const codes = await Promise.all(children.map(async ({ status }) => (await status).code));
    if (codes.some((code) => code !== 0)) throw new Error(`The members ended with ${codes.join(", ")}`);
  } finally {
    stop.abort();
    for (const child of children) {
      try {
        child.kill();
      } catch {
        // it has ended
      }
    }
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
