import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { lastingId } from "../../src/api/join.ts";

Deno.test("lastingId() is the same for the same folder, however it is named, and another for another", () => {
  const folder = Deno.makeTempDirSync();
  Deno.mkdirSync(`${folder}/a`);
  Deno.mkdirSync(`${folder}/b`);
  const id = lastingId(`${folder}/a`);
  assertMatch(id!, /^node-[0-9a-f]{8}$/);
  assertEquals(lastingId(`${folder}/b/../a`), id);
  assertNotEquals(lastingId(`${folder}/b`), id);
  assertEquals(lastingId(null), undefined);
  Deno.removeSync(folder, { recursive: true });
});
