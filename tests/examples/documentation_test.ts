import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { trainTiny } from "../eval/support.ts";
import { withFolder } from "../train/tinyRun.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const LIBRARY = new URL("../../mod.ts", import.meta.url).href;

/** An example in the docstring of something that mod.ts exports, or of mod.ts itself; or the README's program. */
interface Example {
  /** What it is an example of; numbered where there are several. */
  readonly name: string;
  readonly code: string;
}

/** The part of `deno doc --json` that is read here. */
interface Docs {
  readonly nodes: Readonly<
    Record<string, { readonly module_doc: unknown; readonly symbols: readonly { name: string }[] }>
  >;
}

/** Runs deno; its standard output. */
async function deno(args: readonly string[], options: Deno.CommandOptions = {}): Promise<string> {
  const env = { NO_COLOR: "1", ...options.env };
  const output = await new Deno.Command(Deno.execPath(), { ...options, args: [...args], env }).output();
  assertEquals(output.code, 0, new TextDecoder().decode(output.stderr));
  return new TextDecoder().decode(output.stdout);
}

/** Every string in a JSON value. */
function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

async function readReadme(): Promise<Example> {
  const readme = await Deno.readTextFile(join(ROOT, "README.md"));
  const program = /^```ts\n(.*?)^```$/ms.exec(readme)?.[1] ?? "";
  assert(program.includes('"./mod.ts"') && program.includes("50 steps"), program);
  return { name: "README", code: program.replace("./mod.ts", LIBRARY) };
}

/** Examples as modules: what they use of the library is imported, unless they do that themselves. */
async function readDocstrings(): Promise<Example[]> {
  const { nodes }: Docs = JSON.parse(await deno(["doc", "--json", LIBRARY], { cwd: ROOT }));
  const { module_doc, symbols } = nodes[LIBRARY];
  const names = symbols.map(({ name }) => name);
  return [
    { name: "mod", documented: module_doc },
    ...symbols.map((each) => ({ name: each.name, documented: each })),
  ]
    .flatMap(({ name, documented }) => {
      const blocks = stringsIn(documented).flatMap((text) => [...text.matchAll(/^```ts.*\n([^]*?)^```$/gm)]);
      return blocks.map(([, code], i) => {
        const used = names.filter((each) => new RegExp(`\\b${each}\\b`).test(code));
        const imported = /^import /m.test(code) ? "" : `import { ${used.join(", ")} } from "${LIBRARY}";\n`;
        return {
          name: name + (i === 0 ? "" : i + 1),
          code: imported + code.replaceAll('"@bloomery/bloomery"', `"${LIBRARY}"`) + "export {};\n",
        };
      });
    });
}

/** The same with less work: one step in place of many, and kernels are not measured for it. */
function shortened(code: string): string {
  return code.replaceAll(/duration: "\d+ steps" \}/g, 'duration: "1 steps" }, engine: { tune: false }');
}

/** Type-checked alone: the README's program once more, every op of the device, and what takes a second GPU. */
const NOT_RUN = ["mod", "verify", "listGpus"];

Deno.test("the README's first program and the docstrings' examples are type-checked and run", async () => {
  const examples = [...await readDocstrings(), await readReadme()];
  const functions = [
    "coordinate",
    "evaluate",
    "generate",
    "joinGroup",
    "loadModel",
    "plan",
    "train",
    "verify",
  ];
  assertEquals(["mod", ...functions].filter((name) => !examples.some((each) => each.name === name)), []);

  await withFolder(async (folder) => {
    const config = join(ROOT, "deno.json");
    const paths = examples.map(({ name }) => join(folder, `${name}.ts`));
    await Promise.all(examples.map(({ code }, i) => Deno.writeTextFile(paths[i], shortened(code))));
    await deno(["check", "--quiet", "--config", config, ...paths]);

    // what the examples find: a text, a run, and a model of Hugging Face
    const downloaded = join(folder, "downloads", "pythia-70m");
    await Deno.mkdir(downloaded, { recursive: true });
    for (const file of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(join(ROOT, "tests/fixtures/hf/gpt_neox", file), join(downloaded, file));
    }
    await Deno.writeTextFile(
      join(folder, "book.txt"),
      "The cat sat on the mat, and the dog on the cat.\n".repeat(200),
    );
    await trainTiny(join(folder, "runs", "default"), "tokenizer=bytes");
    const running = examples.filter(({ name }) => !NOT_RUN.includes(name)).map(({ name }) => name);
    const all = running.map((name) => `await import("./${name}.ts");\nconsole.log("\\nran ${name}");\n`).join(
      "",
    );
    await Deno.writeTextFile(join(folder, "all.ts"), all);
    const printed = await deno(
      ["run", "--quiet", "--no-check", "--allow-all", "--config", config, "all.ts"],
      { cwd: folder },
    );
    assertEquals([...printed.matchAll(/^ran (\w+)$/gm)].map(([, name]) => name), running);
    const [readmePrinted] = printed.split("\nran README\n")[0].split(/^ran \w+$/m).slice(-1);
    assert(readmePrinted.length >= 100, printed); // a byte or more for each token
    assert((await Deno.stat(join(folder, "runs", "quick", "checkpoints", "step-1"))).isDirectory);
  });
});
