import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join, relative } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** What the files of a room may import beside their own room; what nobody's room is (types, assets) is left out. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  random: [],
  lines: [],
  config: ["errors"],
  net: ["errors"],
  formats: ["config", "errors"],
  data: ["formats", "errors", "random"],
  gpu: ["errors"],
  ops: ["gpu", "config/axes.ts", "errors", "random"],
  model: ["ops", "gpu", "config", "errors", "random"],
  engine: ["model", "ops", "gpu", "config", "data/batch.ts", "errors"],
  train: ["engine", "model", "data", "net/replica.ts", "formats", "config", "errors", "random"],
  eval: ["engine", "train", "data", "formats", "config", "errors", "random"],
  verify: ["engine", "model", "ops", "gpu", "train", "data", "formats", "config", "errors", "random"],
};

/** The same for the rooms of `net`: `node.ts` stands before all of them. */
const ALLOWED_IN_NET: Readonly<Record<string, readonly string[]>> = {
  link: [],
  sum: ["link"],
  control: ["link"],
  coordinator: ["link", "sum", "control"],
  member: ["link", "sum", "control", "replica.ts"],
};

/** Rooms at the edge, which may import everything but each other's insides: `tasks` is imported by nobody. */
const EDGES: Readonly<Record<string, readonly string[]>> = {
  api: [...Object.keys(ALLOWED), "mod"],
  mod: [...Object.keys(ALLOWED), "api"],
  chaos: [...Object.keys(ALLOWED), "api"],
  tasks: [...Object.keys(ALLOWED), "api", "chaos", "mod"],
};

/** Rooms that use web standards alone. */
const WEB_ONLY = ["gpu", "ops", "model", "net"];
/** Files of `net` that open servers or files. */
const NET_EDGE = /^src\/net\/\w+\/\w*(Server|File)\.ts$/;
const MOST_LINES = 500;

interface Import {
  readonly from: string;
  readonly to: string;
  /** Erased when it runs. */
  readonly typeOnly: boolean;
}

function* filesBelow(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) yield* filesBelow(path);
    else if (name.endsWith(".ts")) yield relative(ROOT, path);
  }
}

interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly error?: string;
    readonly dependencies?: readonly Readonly<Record<"code" | "type", { specifier: string } | undefined>>[];
  }[];
}

/** Every import among the project's own files, as Deno resolves them. */
async function readImports(files: readonly string[]): Promise<Import[]> {
  const folder = await Deno.makeTempDir();
  try {
    const entry = join(folder, "all.ts");
    const urls = files.map((file) => new URL(`../${file}`, import.meta.url).href);
    await Deno.writeTextFile(entry, urls.map((url) => `import "${url}";\n`).join(""));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", join(ROOT, "deno.json"), entry],
    }).output();
    assert(code === 0, new TextDecoder().decode(stderr));
    const { modules }: Info = JSON.parse(new TextDecoder().decode(stdout));
    const ours = new Map(urls.map((url, i) => [url, files[i]]));
    return modules.flatMap(({ specifier, error, dependencies = [] }) => {
      assert(error === undefined, `${specifier}: ${error}`);
      const from = ours.get(specifier);
      return dependencies.flatMap(({ code, type }) => {
        const to = ours.get((code ?? type)?.specifier ?? "");
        return from === undefined || to === undefined ? [] : [{ from, to, typeOnly: code === undefined }];
      });
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** `src/ops/reference/add.ts` is in the room `ops`, `src/errors.ts` and `mod.ts` are rooms of their own. */
function roomOf(file: string): string {
  const parts = file.replace(/^src\//, "").split("/");
  return parts.length > 1 ? parts[0] : parts[0].replace(/\.ts$/, "");
}

/** A chain of files that ends where it begins; null: there is none. */
function findCycle(imports: readonly Import[]): string[] | null {
  const next = Map.groupBy(imports, ({ from }) => from);
  const done = new Set<string>();
  function visit(file: string, path: string[]): string[] | null {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const { to } of next.get(file) ?? []) {
      const cycle = visit(to, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  }
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

const files = [...["src", "tasks"].flatMap((name) => [...filesBelow(join(ROOT, name))]), "mod.ts"].sort();
const imports = await readImports(files);

Deno.test("every file is in a room, and its imports are known", () => {
  const rooms = { ...ALLOWED, ...EDGES };
  assertEquals(files.filter((file) => !(roomOf(file) in rooms)), []);
  assert(imports.length > files.length, `${imports.length} imports of ${files.length} files`);
});

Deno.test("rooms import only what they may", () => {
  const rooms: typeof ALLOWED = { ...ALLOWED, ...EDGES };
  const wrong = imports.filter(({ from, to }) => {
    const [own, other] = [roomOf(from), roomOf(to)];
    const allowed = rooms[own];
    return own !== other && !allowed.includes(other) && !allowed.includes(to.replace(/^src\//, ""));
  });
  assertEquals(wrong.map(({ from, to }) => `${from} -> ${to}`), []);
});

Deno.test("the rooms of net, too", () => {
  const inNet = (file: string) => file.startsWith("src/net/") ? file.slice("src/net/".length) : null;
  const wrong = imports.filter(({ from, to }) => {
    const [own, other] = [inNet(from)?.split("/"), inNet(to)?.split("/")];
    if (own === undefined || other === undefined || own.length === 1 || own[0] === other[0]) return false;
    return !ALLOWED_IN_NET[own[0]].includes(other[0]);
  });
  assertEquals(wrong.map(({ from, to }) => `${from} -> ${to}`), []);
});

Deno.test("no file imports itself by way of others", () => {
  assertEquals(findCycle(imports.filter(({ typeOnly }) => !typeOnly)), null);
  const edge = (from: string, to: string): Import => ({ from, to, typeOnly: false });
  assertEquals(findCycle([edge("a", "b"), edge("b", "c"), edge("c", "b")]), ["b", "c", "b"]);
});

Deno.test("gpu, ops, model and the protocol in net use web standards alone", () => {
  const wrong = files.filter((file) => {
    if (!WEB_ONLY.includes(roomOf(file)) || NET_EDGE.test(file)) return false;
    const code = Deno.readTextFileSync(join(ROOT, file)).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    return /\bDeno\.|["']node:/.test(code);
  });
  assertEquals(wrong, []);
});

Deno.test(`no source file has more than ${MOST_LINES} lines`, () => {
  const lines = (file: string) => Deno.readTextFileSync(join(ROOT, file)).split("\n").length;
  assertEquals(files.filter((file) => lines(file) > MOST_LINES), []);
});

Deno.test("no test changes the environment or the working directory, which the files of tests share", () => {
  const wrong = [...filesBelow(join(ROOT, "tests"))].filter((file) => {
    return /\bDeno\.(chdir|env\.(set|delete))\(/.test(Deno.readTextFileSync(join(ROOT, file)));
  });
  assertEquals(wrong, []);
});
