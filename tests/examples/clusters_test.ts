import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { coordinate, importToken } from "../../mod.ts";
import { randomOf } from "../net/support.ts";
import { withFolder } from "../train/tinyRun.ts";

const EXAMPLE = fromFileUrl(new URL("../../examples/clusters.ts", import.meta.url));
const SECRET = "a token of these tests";

/** What each of so many processes prints in a group of theirs. */
async function run(folder: string, processes: number): Promise<string[]> {
  const stop = new AbortController();
  const { signal } = stop;
  const options = { token: await importToken(SECRET), minMembers: processes, waitMs: 0, signal };
  const coordinator = await coordinate({ folder: join(folder, `group-${processes}`), ...options });
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--allow-all", EXAMPLE],
      ...[coordinator.url, join(folder, "token"), join(folder, "points.txt")],
    ],
    env: { NO_COLOR: "1" },
  });
  try {
    const outputs = await Promise.all(Array.from({ length: processes }, () => command.output()));
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    for (const { code, stderr } of outputs) assertEquals(code, 0, text(stderr));
    return outputs.map(({ stdout }) => text(stdout).trim().split("\n").at(-1)!);
  } finally {
    stop.abort();
    await coordinator.ended;
  }
}

Deno.test("clusters.ts finds the same clusters with one process and with two, over their own servers", async () => {
  await withFolder(async (folder) => {
    const random = randomOf(1);
    const around = ([x, y]: number[]) => `${x + random() - 0.5} ${y + random() - 0.5}`;
    const centers = [[0, 0], [5, 1], [2, 7]];
    const lines = Array.from({ length: 300 }, (_, i) => around(centers[i % 3]));
    await Deno.writeTextFile(join(folder, "points.txt"), lines.join("\n"));
    await Deno.writeTextFile(join(folder, "token"), SECRET, { mode: 0o600 });
    const [alone] = await run(folder, 1);
    assertEquals(await run(folder, 2), [alone, alone]);
    const found: number[][] = JSON.parse(alone);
    for (const [i, [x, y]] of found.entries()) {
      assert(Math.hypot(x - centers[i][0], y - centers[i][1]) < 0.2, alone);
    }
  });
});
