import { assertEquals } from "@std/assert";
import { editDistance, hintNearest, nearest } from "../../src/config/nearest.ts";

Deno.test("editDistance() counts insertions, deletions and replacements", () => {
  assertEquals(editDistance("", ""), 0);
  assertEquals(editDistance("", "abc"), 3);
  assertEquals(editDistance("abc", ""), 3);
  assertEquals(editDistance("kitten", "sitting"), 3);
  assertEquals(editDistance("flaw", "lawn"), 2);
});

Deno.test("nearest() takes the first of the nearest candidates", () => {
  assertEquals(nearest("tokns", ["steps", "tokens", "tokes"]), "tokens");
  assertEquals(nearest("tokns", ["unit.steps", "unit.tokens"], (name) => name.slice(5)), "unit.tokens");
});

Deno.test("nearest() finds none where all are far", () => {
  assertEquals(nearest("x", []), null);
  assertEquals(nearest("foo", ["fob", "fab"]), "fob");
  assertEquals(nearest("foo", ["fab"]), null);
  assertEquals(nearest("runs", ["tune"]), null);
  assertEquals(nearest("tun", ["tune"]), "tune");
  assertEquals(nearest("modle", ["model"]), "model");
  assertEquals(nearest("mode", ["tokens"]), null);
  assertEquals(nearest("learn____ate", ["learningRate"]), "learningRate"); // 4 of 12
  assertEquals(nearest("learn_____te", ["learningRate"]), null);
  assertEquals(nearest("lr", ["allreduce-rlr"]), null);
});

Deno.test("nearest() overlooks case, and finds what has the word as a part where nothing else is near", () => {
  assertEquals(nearest("GELU", ["relu", "gelu", "geluErf"]), "gelu");
  assertEquals(nearest("layers", ["numHeads", "numLayers"]), "numLayers");
  assertEquals(nearest("layers", ["numLayers", "layer"]), "layer");
});

Deno.test("hintNearest() names the nearest, or all", () => {
  assertEquals(hintNearest("trian", ["train", "eval"]), "the nearest known one is train");
  assertEquals(hintNearest("verify", ["train", "eval"]), "expected one of train, eval");
  assertEquals(hintNearest("verify", ["train"]), "expected train");
});
