import { assertEquals } from "@std/assert";
import { quoteForShell } from "../../tasks/_shell.ts";

Deno.test("quoteForShell() makes a word that a shell reads back", async () => {
  const cases = [
    ["runs/my-run_2.0", "runs/my-run_2.0"],
    ["interface ", '"interface "'],
    ["", '""'],
    ["it's; so", '"it\'s; so"'],
    ['say "$HOME"', "'say \"$HOME\"'"],
    ["a'b`c\n", "'a'\\''b`c\n'"],
  ];
  for (const [word, quoted] of cases) assertEquals(quoteForShell(word), quoted);
  if (Deno.build.os === "windows") return;
  const line = `printf '%s|' ${cases.map(([word]) => quoteForShell(word)).join(" ")}`;
  const { stdout } = await new Deno.Command("sh", { args: ["-c", line] }).output();
  assertEquals(new TextDecoder().decode(stdout), cases.map(([word]) => `${word}|`).join(""));
});
