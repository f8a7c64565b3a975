import { assert, assertEquals } from "@std/assert";
import { isFailure, parseRecord } from "../../tasks/_childRecord.ts";

Deno.test("parseRecord() knows a verb's records from what others write on its stdout", () => {
  assertEquals(parseRecord('{"step":6,"loss":2.5}'), { step: 6, loss: 2.5 });
  for (const line of ["", "MESA: warning: a driver's", "{", "6", "null", '"text"', "[1]"]) {
    assertEquals(parseRecord(line), null, line);
  }
});

Deno.test("isFailure() needs both what went wrong and the exit code", () => {
  assert(isFailure({ error: "The disk is full", exitCode: 1 }));
  assert(!isFailure({ error: "a name" }) && !isFailure({ exitCode: 0 }));
});
