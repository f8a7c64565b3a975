import { assertEquals } from "@std/assert";
import { FrameLength } from "../../src/net/link/frameLength.ts";

Deno.test("FrameLength is what a link delivers in an eighth of a heartbeat, between 64 KiB and 1 MiB", () => {
  const frames = new FrameLength(1000);
  const KIB = 1024;
  const next = (acknowledgedKib: number, now: number) => frames.next(acknowledgedKib * KIB, now) / KIB;
  assertEquals(next(0, 0), 64);
  assertEquals(next(900, 124), 64); // not yet known
  assertEquals(next(1000, 125), 960); // whole 64 KiB
  assertEquals(next(1001, 200), 960);
  assertEquals(next(9000, 250), 1024);
  assertEquals(next(9400, 500), 192); // 400 KiB in 250 ms
  assertEquals(next(9400, 1500), 64);
  assertEquals(next(9525, 2500), 64); // 1 Mbit/s
});
