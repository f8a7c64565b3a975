import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { RetryError, UserError } from "../../src/errors.ts";
import { cannotWrite, messageOf } from "../../src/formats/file.ts";
import { describeFailure } from "../../tasks/_failure.ts";

const going = new AbortController().signal;

Deno.test("messageOf() leaves out the numbers and names of system calls", () => {
  const cases = [
    [
      "Cannot read a.txt: No such file or directory (os error 2)",
      "Cannot read a.txt: No such file or directory",
    ],
    [
      "Cannot read \"a\": Permission denied (os error 13): open 'a'; check the path",
      'Cannot read "a": Permission denied; check the path',
    ],
    ["a: Is a directory (os error 21): readfile 'it's a'", "a: Is a directory"],
    ["Cross-device link (os error 18): rename 'a' -> 'b', and more", "Cross-device link, and more"],
    ["model.numLayers is 0, expected more", "model.numLayers is 0, expected more"],
    ["it ends\nhere\u001b[31m\u2028\u0000 \ud800", "it ends\\u{a}here\\u{1b}[31m\\u{2028}\\u{0} \\u{d800}"],
    [
      'Requires all access to "/proc/x y", run again with the --allow-all flag',
      'Deno keeps programs out of "/proc/x y"',
    ],
  ];
  for (const [message, text] of cases) assertEquals(messageOf(new Error(message)), text);
});

Deno.test("cannotWrite() gives advice that helps", () => {
  const { NotCapable } = Deno.errors;
  const refused = new NotCapable('Requires all access to "/proc/x", run again with the --allow-all flag');
  const expected = 'Cannot write "/proc/x": Deno keeps programs out of "/proc/x"; choose another folder';
  assertEquals(assertThrows(() => cannotWrite("/proc/x", refused), UserError).message, expected);
  assertThrows(
    () => cannotWrite("a", new Error("full")),
    UserError,
    "full; check the folder and its free space",
  );
});

Deno.test("describeFailure() makes one line of the user's mistakes, and an exit code of everything", () => {
  const of = (error: unknown) => describeFailure(error, going);
  const mistake = "found a, expected b";
  assertEquals(of(new UserError(mistake)), { text: `error: ${mistake}`, error: mistake, code: 1 });
  assertEquals(of(new UserError("found\na")).text, "error: found\\u{a}a");
  const lost = "the GPU was lost";
  assertEquals(of(new RetryError(lost)), { text: `try again: ${lost}`, error: lost, code: 75 });
  const missing = new Deno.errors.NotFound("No such file or directory (os error 2): open 'a b'");
  const { text, code } = of(missing);
  assertEquals(code, 1);
  assertEquals(text, "error: Cannot use a b: No such file or directory; check the path and its permissions");
  const denied = of(new Deno.errors.NotCapable("Requires read access"));
  assertEquals([denied.text, denied.code], ["error: Requires read access", 1]);
  const fault = of(new TypeError("broken"));
  assertEquals(fault.code, 2);
  assertMatch(fault.text, /^fault of Bloomery, please report it: TypeError: broken\n +at /);
});

Deno.test("describeFailure() says nothing of what a signal has stopped", () => {
  const controller = new AbortController();
  controller.abort();
  const { signal } = controller;
  assertEquals(describeFailure(signal.reason, signal), { text: "", error: "", code: 130 });
  assertEquals(describeFailure(new DOMException("stopped", "AbortError"), signal).code, 130);
  assertEquals(describeFailure(new UserError("disk full"), signal).code, 1);
  assertEquals(describeFailure(new DOMException("stopped", "AbortError"), going).code, 2);
});
