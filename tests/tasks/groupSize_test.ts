import { assertEquals } from "@std/assert";
import { describeGroupSize } from "../../tasks/_join.ts";

Deno.test("describeGroupSize() says how many stand by, in the singular where it is one", () => {
  assertEquals(describeGroupSize(3, 4), "4 virtual workers are shared by 3 nodes");
  assertEquals(describeGroupSize(2, 1), "1 virtual worker is shared by 2 nodes: 1 stands by");
  assertEquals(describeGroupSize(9, 4), "4 virtual workers are shared by 9 nodes: 5 stand by");
});
