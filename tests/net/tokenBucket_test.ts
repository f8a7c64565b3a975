import { assertEquals } from "@std/assert";
import { TokenBucket } from "../../src/net/link/tokenBucket.ts";

Deno.test("TokenBucket lets a burst through, then its rate", () => {
  let now = 0;
  const bucket = new TokenBucket(3, 2, () => now);
  const take = (times: number) => Array.from({ length: times }, () => bucket.take());
  assertEquals(take(4), [true, true, true, false]);
  now = 499;
  assertEquals(take(1), [false]);
  now = 500;
  assertEquals(take(2), [true, false]);
  now = 1e9;
  assertEquals(bucket.left, 3);
  assertEquals(take(4), [true, true, true, false]);
});
