import { assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { withFolder } from "../train/tinyRun.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

const PROGRAM = `
import { loadModel, train, type TrainResult } from "@bloomery/bloomery";

const { steps, files }: TrainResult = await train({
  data: { text: "the cat sat on the mat, and the dog sat on the cat. ".repeat(9) },
  tokenizer: "chars",
  model: { numLayers: 1, modelDim: 8, numHeads: 2, seqLen: 8 },
  train: { batchSize: 2, duration: "2 steps" },
  engine: { tune: false },
});
await using model = await loadModel(await files());
const pieces = await Array.fromAsync(model.generate("the ", { maxTokens: 5 }));
console.log(JSON.stringify({ steps, length: pieces.join("").length }));
`;

async function deno(cwd: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd, env: { NO_COLOR: "1" } });
  const { code, stdout, stderr } = await command.output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("a project that links to this one trains with no more permission than to read it", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ links: [ROOT] }));
    await Deno.writeTextFile(join(folder, "main.ts"), PROGRAM);
    await deno(folder, "check", "main.ts");
    const output = await deno(folder, "run", "--no-prompt", `--allow-read=${ROOT}`, "main.ts");
    assertEquals(JSON.parse(output), { steps: 2, length: 5 });
  });
});

Deno.test("a program with a device of its own needs no permission", async () => {
  await withFolder(async (folder) => {
    const program = PROGRAM
      .replace(
        "const {",
        "const device = await (await navigator.gpu.requestAdapter())!.requestDevice();\nconst {",
      )
      .replace("},\n});", "},\n}, { device });")
      .replace("await files()", "await files(), { device }");
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ links: [ROOT] }));
    await Deno.writeTextFile(join(folder, "main.ts"), program);
    assertEquals(JSON.parse(await deno(folder, "run", "--no-prompt", "main.ts")), { steps: 2, length: 5 });
  });
});
