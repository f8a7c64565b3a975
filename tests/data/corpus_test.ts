import { assert, assertEquals, assertRejects } from "@std/assert";
import { embeddedCorpus, readCorpus, textChunks } from "../../src/data/corpus.ts";
import { UserError } from "../../src/errors.ts";

async function withFolder(
  files: Record<string, string | Uint8Array>,
  test: (folder: string) => Promise<void>,
) {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      await Deno.mkdir(`${folder}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeFile(
        `${folder}/${name}`,
        typeof content === "string" ? new TextEncoder().encode(content) : content,
      );
    }
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const BINARY = Uint8Array.of(65, 0, 66);
const NOT_UTF8 = Uint8Array.of(0xff, 0xfe, 65);

Deno.test("readCorpus() reads a file", () =>
  withFolder({ "a.txt": "\ufeffhé🙂\r\n" }, async (folder) => {
    const { text, fileStarts } = await readCorpus(`${folder}/a.txt`);
    assertEquals([text, fileStarts], ["hé🙂\r\n", [0]]);
  }));

Deno.test("readCorpus() reads a folder in bytewise order of relative paths", () =>
  withFolder({
    "b.txt": "B\n",
    "B.txt": "big b", // gets a line end
    "a/z.txt": "a/z\n",
    "a/a/x.txt": "a/a/x\n",
    "a.txt": "a.txt\n", // "." comes before "/"
    "\uffe5.txt": "yen\n",
    "🙂.txt": "smile\n", // comes before the yen in UTF-16, after it in bytes
    ".hidden": "hidden",
    ".git/config": "hidden",
    "empty.txt": "",
    "image.png": BINARY,
    "latin1.txt": NOT_UTF8,
  }, async (folder) => {
    const corpus = await readCorpus(folder);
    assertEquals(corpus.text, "big b\na.txt\na/a/x\na/z\nB\nyen\nsmile\n");
    assertEquals(corpus.fileStarts, [0, 6, 12, 18, 22, 24, 28]);
    assertEquals(corpus.skipped, ["image.png", "latin1.txt"]);
  }));

Deno.test("readCorpus() follows links to files, not to folders", () =>
  withFolder({ "sub/a.txt": "A\n" }, async (folder) => {
    await Deno.symlink(`${folder}/sub/a.txt`, `${folder}/link.txt`);
    await Deno.symlink(folder, `${folder}/sub/circle`);
    assertEquals((await readCorpus(folder)).text, "A\nA\n");
  }));

Deno.test("readCorpus() says what is wrong with a corpus", () =>
  withFolder(
    { "empty.txt": "", "nul.bin": BINARY, "bad.txt": NOT_UTF8, "only/x.bin": BINARY },
    async (folder) => {
      await assertRejects(() => readCorpus(`${folder}/none`), UserError, `${folder}/none`);
      await assertRejects(() => readCorpus(`${folder}/empty.txt`), UserError, "empty.txt is empty");
      await assertRejects(() => readCorpus(`${folder}/nul.bin`), UserError, "nul.bin is not text");
      await assertRejects(() => readCorpus(`${folder}/bad.txt`), UserError, "bad.txt is not text");
      await assertRejects(() => readCorpus(`${folder}/only`), UserError, "found 1 files, 1 of them binary");
    },
  ));

Deno.test("embeddedCorpus() is the declarations that Deno carries", async () => {
  const { text, source } = await embeddedCorpus();
  assert(text.length > 100_000 && text.includes("interface Window"));
  assertEquals(source, `deno types, Deno ${Deno.version.deno}`);
  assert(!text.includes("\x1b["));
});

Deno.test("textChunks() reads a file of any length in parts", () =>
  withFolder(
    {
      "a.txt": "é🙂x".repeat(30_000),
      "bad.txt": NOT_UTF8,
      "cut.txt": Uint8Array.of(65, 0xc3),
      "nul.bin": BINARY,
    },
    async (folder) => {
      const read = async (name: string) => (await Array.fromAsync(textChunks(`${folder}/${name}`)));
      const chunks = await read("a.txt");
      assert(chunks.length > 2);
      assert(chunks.join("") === "é🙂x".repeat(30_000));
      await assertRejects(() => read("bad.txt"), UserError, "bad.txt is not text");
      await assertRejects(() => read("cut.txt"), UserError, "cut.txt is not text");
      await assertRejects(() => read("nul.bin"), UserError, "nul.bin is not text");
      await assertRejects(() => read("none.txt"), UserError, "none.txt");
    },
  ));
