import { assertEquals } from "@std/assert";
import { forEachLine } from "../../src/lines.ts";
import { supervise } from "../../tasks/_supervise.ts";

interface Watched {
  readonly code: number;
  readonly lines: string[];
  readonly said: string[];
}

/** Supervises shell scripts: the n-th start runs the n-th, then the last again. */
async function watch(
  scripts: readonly string[],
  onLine: (line: string, stop: () => void) => void = () => {},
): Promise<Watched> {
  const stop = new AbortController();
  const lines: string[] = [];
  const said: string[] = [];
  let starts = 0;
  const code = await supervise({
    name: "It",
    command() {
      const script = scripts[Math.min(starts++, scripts.length - 1)];
      return new Deno.Command("sh", {
        args: ["-c", script],
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      });
    },
    onLine(stream, line) {
      lines.push(`${stream} ${line}`);
      onLine(line, () => stop.abort());
    },
    say: (line) => said.push(line),
    signal: stop.signal,
  });
  return { code, lines, said };
}

const ignore = Deno.build.os === "windows";

Deno.test({
  name: "supervise() passes lines on and restarts what was killed or asks for it",
  ignore,
  async fn() {
    const { code, lines, said } = await watch([
      "echo one; echo oops >&2; kill -9 $$",
      "echo two; exit 75",
      "echo three; printf rest",
    ]);
    assertEquals(code, 0);
    assertEquals(lines.toSorted(), [
      "stderr oops",
      "stdout one",
      "stdout rest",
      "stdout three",
      "stdout two",
    ]);
    assertEquals(said, [
      "It was ended by SIGKILL; starting it again",
      "It ended with exit code 75; starting it again",
    ]);
  },
});

Deno.test({
  name: "supervise() restarts nothing that ends for another reason",
  ignore,
  async fn() {
    for (const code of [0, 1, 2]) {
      assertEquals(await watch([`exit ${code}`, "exit 9"]), { code, lines: [], said: [] });
    }
  },
});

Deno.test({
  name: "supervise() gives up what dies each time",
  ignore,
  async fn() {
    const { code, said } = await watch(["exit 75"]);
    assertEquals(code, 75);
    assertEquals(said.length, 6);
    assertEquals(said.at(-1), "It ended with exit code 75, 6 times within a minute: given up");
  },
});

Deno.test({
  name: "supervise() ends the process by SIGTERM, and doesn't start it again",
  ignore,
  async fn() {
    const wait = "echo ready; while true; do sleep 0.05; done";
    const stopAtOnce = (line: string, stop: () => void) => line === "ready" ? stop() : undefined;
    assertEquals(await watch([`trap 'echo bye; exit 130' TERM; ${wait}`], stopAtOnce), {
      code: 130,
      lines: ["stdout ready", "stdout bye"],
      said: [],
    });
    assertEquals((await watch([wait], stopAtOnce)).code, 130);
  },
});

Deno.test("forEachLine() puts lines together that come in parts", async () => {
  const bytes = new TextEncoder().encode("é one\n\ntwo\nlast");
  const parts = Array.from(bytes, (_, i) => bytes.slice(i, i + 1));
  const lines: string[] = [];
  await forEachLine(ReadableStream.from(parts), (line) => lines.push(line));
  assertEquals(lines, ["é one", "", "two", "last"]);
});
