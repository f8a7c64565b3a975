import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { coordinate, importToken } from "../../mod.ts";
import { readTree, withFolder } from "../train/tinyRun.ts";
import { commandWith, type Ran, runTaskWith, taskCommand, TINY } from "./verbs.ts";

const SECRET = "a secret of these tests, found nowhere";

/** A verb's process, and what it has said so far. */
function start(name: string, ...args: string[]) {
  const child = taskCommand(name, ...args).spawn();
  const stderr = new Response(child.stderr).text();
  let stdout = "";
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const read = async () => {
    const { done, value = "" } = await reader.read();
    stdout += value;
    return !done;
  };
  return {
    child,
    async says(text: string): Promise<void> {
      while (!stdout.includes(text)) if (!await read()) throw new Error(`${stdout}${await stderr}`);
    },
    async end(): Promise<Ran> {
      while (await read());
      return { code: (await child.status).code, stdout, stderr: await stderr };
    },
  };
}

Deno.test("train --join: mistakes are one line on the node, the group goes on, and the token shows nowhere", async () => {
  await withFolder(async (folder) => {
    const tokenFile = join(folder, "token");
    await Deno.writeTextFile(tokenFile, SECRET, { mode: 0o600 });
    await Deno.writeTextFile(
      join(folder, "text.txt"),
      "the quick brown fox jumps over the lazy dog; ".repeat(20),
    );
    const stop = new AbortController();
    const lines: string[] = [];
    const coordinator = await coordinate({
      ...{
        folder: join(folder, "group"),
        token: await importToken(SECRET),
        minMembers: 2,
        signal: stop.signal,
      },
      log: (_, text) => lines.push(text),
    });
    const { url } = coordinator;
    const runs = join(folder, "runs");
    const settings = [`data=${join(folder, "text.txt")}`, ...TINY];
    const toGroup = [...settings, "--join", url];
    const withToken = [...toGroup, "--token-file", tokenFile];
    const outputs: Ran[] = [];
    const fails = async (env: Record<string, string>, args: string[], expected: RegExp) => {
      const ran = await runTaskWith({ BLOOMERY_TOKEN: "", ...env }, "train", ...args);
      outputs.push(ran);
      assertEquals([ran.code, ran.stderr.trim().split("\n").length], [1, 1], ran.stderr);
      assertMatch(ran.stderr, expected);
    };
    try {
      const first = start("train", ...withToken, "--runs", runs);
      await first.says("Waits for members: 1 of at least 2 are here");
      if (Deno.build.os === "linux") {
        assert(!Deno.readTextFileSync(`/proc/${first.child.pid}/cmdline`).includes(SECRET));
      }
      await fails(
        {},
        [...withToken, "--runs", runs],
        /^error: ".*" is in use by process \d+, expected one at a time; give each node .* \(--runs FOLDER\), or stop/,
      );
      const { host } = new URL(url);
      const place = { RANK: "1", WORLD_SIZE: "2" };
      await fails(place, [...withToken, "--listen", host], /^error: [\d.:]+ is in use by another process, /);
      await fails(
        place,
        [...withToken, "--listen", "0.0.0.0:0"],
        /^error: --listen is .*; say by --advertise /,
      );
      await fails(
        { ...place, BLOOMERY_TOKEN: "x".repeat(32) },
        toGroup,
        /^error: ws:\S+ refused the token, expected the one that its group has on all nodes$/m,
      );
      await fails(place, toGroup, /^error: Found no token, /);
      await fails(
        place,
        [...withToken, "from=nowhere"],
        /^error: "nowhere" is not there; .*, on this machine, too: a node that keeps no run folder reads its config.json/,
      );
      await fails(
        place,
        [...withToken, "--nodes", "0"],
        /^error: --nodes is 0, expected a whole number from 1/,
      );
      await fails(
        place,
        [...withToken, "seed=7", "train.duration=13 steps"],
        /not take this node: Its config is another one: seed is 7, the group's is 1337; train\.duration is 13 steps, the/,
      );

      const nowhere = ["--join", "ws://no-such-host.invalid:7777", "--runs", join(folder, "lost")];
      const lost = start("train", ...settings, ...nowhere, "--token-file", tokenFile);
      await lost.says("cannot be reached: the name does not resolve to an address; check it; trying again");
      lost.child.kill("SIGINT");
      assertEquals((await lost.end()).code, 130);

      const second = await runTaskWith(place, "train", ...withToken, "--json");
      assertEquals(second.code, 0, second.stderr);
      const whole = await first.end();
      assertEquals(whole.code, 0, whole.stderr);
      outputs.push(second, whole);
      assertStringIncludes(whole.stdout, JSON.parse(second.stdout.trim().split("\n").at(-1)!).digest);
      const refusal =
        "node-1 is refused: Its config is another one: seed is 7, the group's is 1337; train.duration";
      assert(lines.some((line) => line.startsWith(refusal)), lines.join("\n"));
      assert(lines.some((line) => line.endsWith(" was turned away: wrong token")), lines.join("\n"));
    } finally {
      stop.abort();
      await coordinator.ended;
    }
    const files = Object.values(readTree(runs)).map((bytes) => new TextDecoder("latin1").decode(bytes));
    assert(files.length > 5);
    for (const text of [JSON.stringify(outputs), lines.join(), ...files]) assert(!text.includes(SECRET));
  });
});

Deno.test("train: a node that keeps nothing, left alone by the one that keeps the run, saves the run's end and says where", async () => {
  await withFolder(async (folder) => {
    const text = join(folder, "text.txt");
    await Deno.writeTextFile(text, "the quick brown fox jumps over the lazy dog; ".repeat(20));
    const stop = new AbortController();
    const { url, ended } = await coordinate({
      ...{ folder: join(folder, "group"), token: await importToken(SECRET), waitMs: 0, signal: stop.signal },
    });
    const env = { RANK: "1", WORLD_SIZE: "2", BLOOMERY_COORDINATOR: url, BLOOMERY_TOKEN: SECRET };
    const args = [`data=${text}`, ...TINY, "--json"];
    const { code, stdout, stderr } = await commandWith(env, "train", args, folder).output();
    stop.abort();
    await ended;
    const said = new TextDecoder().decode(stderr);
    assertEquals(code, 0, said);
    const result = JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
    assertEquals(result.folder, "runs/default");
    assertMatch(said, /^warning: No node of this group keeps the run: .*; otherwise node-1 saves the model/m);
    assertMatch(
      said,
      /^warning: no other node of the group keeps the run: this one has saved its end in runs\/default$/m,
    );
    const generated = await commandWith(
      {},
      "generate",
      ["runs/default", "--max-tokens", "3", "--json"],
      folder,
    ).output();
    assertEquals(generated.code, 0, new TextDecoder().decode(generated.stderr));
  });
});
