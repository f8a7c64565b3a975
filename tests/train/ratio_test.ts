import { assertAlmostEquals, assertEquals } from "@std/assert";
import { normals, Stream } from "../../src/random.ts";
import { Ratio } from "../../src/train/ratio.ts";

Deno.test("Ratio agrees with the formula over all rows, also where rows are nearly equal", () => {
  for (const [rows, offset] of [[2, 1], [7, 3], [301, 3], [301, 1e6]]) {
    const x = [...normals(rows, 1, 1, Stream.test, rows)].map((value) => offset + value);
    const y = [...normals(rows, 0.1, 2, Stream.test, rows)].map((value) => 2 + value);
    const ratio = new Ratio();
    x.forEach((value, row) => ratio.add(value, y[row]));
    const total = y.reduce((sum, value) => sum + value, 0);
    const value = x.reduce((sum, value) => sum + value, 0) / total;
    const squares = x.reduce((sum, xRow, row) => sum + (xRow - value * y[row]) ** 2, 0);
    const error = Math.sqrt(squares * rows / (rows - 1)) / total;
    assertEquals(ratio.rows, rows);
    assertAlmostEquals(ratio.total, total, 1e-9);
    assertAlmostEquals(ratio.value, value, 1e-9 * Math.abs(value));
    assertAlmostEquals(ratio.standardError, error, 1e-9 * error);
  }
});

Deno.test("Ratio has no standard error for a single row, and none is left where all rows have the same ratio", () => {
  const ratio = new Ratio();
  ratio.add(3, 2);
  assertEquals([ratio.value, ratio.standardError], [1.5, NaN]);
  for (const y of [1, 5, 7]) ratio.add(1.5 * y, y);
  assertAlmostEquals(ratio.standardError, 0, 1e-7);
});
