import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { existsSync } from "node:fs";
import { RetryError, UserError } from "../../src/errors.ts";
import { openCoordinatorFile } from "../../src/net/coordinator/coordinatorFile.ts";
import type { SavedGroup } from "../../src/net/coordinator/types.ts";
import { diskOrder } from "../diskOrder.ts";
import { withoutLocks } from "../withoutLocks.ts";
import { IDENTITY } from "./coordinatorBench.ts";
import { inFolder } from "./groupFolder.ts";

const GROUP: SavedGroup = {
  identity: IDENTITY,
  epoch: 3,
  step: 17,
  members: ["m1", "m2"],
  electorates: [["m1", "m2"], ["m1"]],
  needsMajority: false,
};

Deno.test("openCoordinatorFile() reads what was written, and leaves nothing else behind", () =>
  inFolder(async (folder) => {
    {
      using file = await openCoordinatorFile(folder);
      assertEquals(file.saved, null);
      await file.write(GROUP);
      await file.write({ ...GROUP, epoch: 4 });
    }
    const newer = { ...GROUP, keepers: { m1: 15 } };
    {
      using file = await openCoordinatorFile(folder);
      assertEquals(file.saved, { ...GROUP, epoch: 4 }); // as an older version wrote it
      await file.write(newer);
    }
    using file = await openCoordinatorFile(folder);
    assertEquals(file.saved, newer);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names, ["coordinator.json", "coordinator.lock"]);
  }));

Deno.test("openCoordinatorFile() has a group on the disk before its name, and then the name", () =>
  inFolder(async (folder) => {
    using file = await openCoordinatorFile(folder);
    assertEquals(await diskOrder(() => file.write(GROUP)), [
      "sync coordinator.json.tmp",
      "coordinator.json.tmp -> coordinator.json",
      "sync group",
    ]);
  }));

Deno.test("openCoordinatorFile() says in one line that the file system has no locks", () =>
  inFolder(async (folder) => {
    const open = () => withoutLocks(() => openCoordinatorFile(folder));
    await assertRejects(
      open,
      UserError,
      `Can't lock "${folder}/coordinator.lock": No locks`,
    );
    using _lockable = await openCoordinatorFile(folder);
  }));

Deno.test("openCoordinatorFile() keeps a second process out until the first has ended", () =>
  inFolder(async (folder) => {
    const module = new URL("../../src/net/coordinator/coordinatorFile.ts", import.meta.url);
    const code = `const { openCoordinatorFile } = await import("${module}");
      const file = await openCoordinatorFile(${JSON.stringify(folder)});
      console.log("open"); await new Promise(() => setTimeout(() => {}, 60000));`;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", "--config", config, code],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    await assertRejects(() => openCoordinatorFile(folder), UserError, "in use by another coordinator");
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    using file = await openCoordinatorFile(folder);
    assertEquals(file.saved, null);
  }));

Deno.test("a coordinator whose file or lock was replaced refuses to write", () =>
  inFolder(async (folder) => {
    using file = await openCoordinatorFile(folder);
    await file.write(GROUP);
    const path = join(folder, "coordinator.json");
    const own = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, own.replace('"epoch":3', '"epoch":5'));
    await assertRejects(() => file.write(GROUP), RetryError, "was changed by somebody else");
    await Deno.remove(path);
    await assertRejects(() => file.write(GROUP), RetryError, "was changed by somebody else");
    await Deno.writeTextFile(path, own);
    await file.write(GROUP);
    await Deno.remove(join(folder, "coordinator.lock"));
    await assertRejects(() => file.write(GROUP), RetryError, "another coordinator may have taken over");
    using second = await openCoordinatorFile(folder);
    assertEquals(second.saved, GROUP);
    await assertRejects(() => file.write(GROUP), RetryError, "another file than was locked");
  }));

Deno.test("discard() removes what was made, but nothing that was there or has come since", () =>
  inFolder(async (folder) => {
    (await openCoordinatorFile(join(folder, "a", "b"))).discard();
    assert(!existsSync(folder));
    await Deno.mkdir(folder);
    (await openCoordinatorFile(folder)).discard();
    assert(existsSync(folder));
    const file = await openCoordinatorFile(join(folder, "c"));
    await Deno.writeTextFile(join(folder, "c", "mine"), "");
    file.discard();
    assert(existsSync(join(folder, "c", "mine")));
    using again = await openCoordinatorFile(join(folder, "c"));
    assertEquals(again.saved, null);
  }));

Deno.test("a damaged file is refused, whatever is wrong with it", () =>
  inFolder(async (folder) => {
    {
      using file = await openCoordinatorFile(folder);
      await file.write(GROUP);
    }
    const path = join(folder, "coordinator.json");
    const own = await Deno.readTextFile(path);
    const wrong = ["", own.slice(0, -9), own.replace('"step":17', '"step":18'), own.replace('"m2"', "2")];
    for (const text of wrong) {
      await Deno.writeTextFile(path, text);
      await assertRejects(
        () => openCoordinatorFile(folder),
        UserError,
        "is damaged, expected a coordinator's file",
      );
    }
  }));

Deno.test("a folder that can't be made or written is named", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(folder, "");
    await assertRejects(() => openCoordinatorFile(folder), UserError, folder);
    await Deno.remove(folder);
    using file = await openCoordinatorFile(folder);
    await Deno.mkdir(join(folder, "coordinator.json.tmp"));
    await assertRejects(() => file.write(GROUP), UserError, "Can't write");
  }));
