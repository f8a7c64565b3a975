import { assertEquals } from "@std/assert";
import { openScreen } from "../../tasks/_screen.ts";

const CLEAR = "\r\x1b[K";

Deno.test("openScreen() keeps the live line below what is said, and never lets it wrap", () => {
  let written = "";
  const screen = openScreen((text) => written += text, () => 10);
  screen.say("begin");
  screen.show("1 of 2");
  screen.say("news");
  screen.show("a very long line");
  screen.show("");
  screen.say("end");
  assertEquals(
    written,
    `begin\n1 of 2${CLEAR}news\n1 of 2${CLEAR}a very lo${CLEAR}end\n`,
  );
});

Deno.test("openScreen() writes streamed text in place of the live line", () => {
  let written = "";
  const screen = openScreen((text) => written += text, () => 80);
  screen.show("loading");
  screen.write("once ");
  screen.write("upon");
  screen.say("");
  assertEquals(written, `loading${CLEAR}once upon\n`);
});

Deno.test("openScreen() shows control characters as pictures on a terminal, and leaves them as they are elsewhere", () => {
  const generated = "a\tb\n\x1b[2J\x04\r\x7f\x9bé🙂";
  const pictures = "a\tb\n␛[2J␄␍␡\ufffdé🙂";
  for (const [columns, expected] of [[80, pictures], [0, pictures], [null, generated]] as const) {
    let written = "";
    const screen = openScreen((text) => written += text, () => columns);
    screen.write(generated);
    screen.say(generated);
    assertEquals(written, `${expected}${expected}\n`);
  }
});

Deno.test("openScreen() has no live line on a terminal that does not know its width", () => {
  let written = "";
  const screen = openScreen((text) => written += text, () => 0);
  screen.show("1 of 2");
  screen.say("news");
  assertEquals([screen.columns, written], [null, "news\n"]);
});

Deno.test("openScreen() has no live line where there is no terminal", () => {
  let written = "";
  const screen = openScreen((text) => written += text, () => null);
  screen.show("1 of 2");
  screen.say("news");
  screen.show("");
  assertEquals([screen.columns, written], [null, "news\n"]);
});
