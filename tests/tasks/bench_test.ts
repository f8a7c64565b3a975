import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const BENCH = fromFileUrl(new URL("../../bench", import.meta.url));

async function runBench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-check",
      "-A",
      "-c",
      join(BENCH, "deno.json"),
      join(BENCH, "run.ts"),
      ...args,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("bench --help names the benchmarks", async () => {
  const { code, stdout, stderr } = await runBench("--help");
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "Usage: deno task bench NAME [SIZE]\n");
  assertMatch(stdout, /^ {2}NAME +allreduce .* attention .* matmul .* step /m);
});

Deno.test("bench refuses what it does not know in one line", async () => {
  const cases = [
    [[], "Found no name, expected one of allreduce, attention, exposed, matmul, step, variants"],
    [["matmull"], "Found matmull, the nearest known one is matmul"],
    [["fft"], "Found fft, expected one of allreduce, attention, exposed, matmul, step, variants"],
    [["matmul", "small"], "Found small, but bench matmul takes no size"],
    [["attention", "small"], "Found small, but bench attention takes no size"],
    [
      ["step", "small", "middle"],
      "Found step small middle, expected one of allreduce, attention, exposed, matmul, step, variants",
    ],
    [["matmul", "--jsn"], "Unknown flag --jsn, the nearest known one is --json"],
  ] as const;
  for (const [args, message] of cases) {
    assertEquals(await runBench(...args), { code: 1, stdout: "", stderr: `error: ${message}\n` });
  }
});
