import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import {
  type CoordinatorMessage,
  MAX_MEMBERS,
  MAX_MESSAGE_BYTES,
  parseCoordinatorMessage,
  parseMemberMessage,
  toReason,
  toSettings,
} from "../../src/net/control/messages.ts";
import { digestOf, hello } from "./coordinatorBench.ts";

Deno.test("messages come back from their text form", () => {
  const message = hello(1, { group: { epoch: 3, members: ["m1", "m2"] } });
  assertEquals(parseMemberMessage(JSON.stringify(message)), message);
  const refused: CoordinatorMessage = { type: "refused", reason: "Too late", retry: true };
  assertEquals(parseCoordinatorMessage(JSON.stringify(refused)), refused);
});

Deno.test("the longest epoch message stays below the cap", () => {
  const url = `wss://${"h".repeat(250)}`;
  const members = Array.from({ length: MAX_MEMBERS }, (_, k) => ({ id: `m${k}`.padEnd(64, "x"), url }));
  const text = JSON.stringify({
    type: "epoch",
    epoch: 2 ** 32 - 1,
    step: 2 ** 32 - 1,
    digest: "d".repeat(64),
    members,
    spares: members.map(({ id }) => id),
    donor: "m".repeat(64),
    skip: false,
  });
  assert(text.length < MAX_MESSAGE_BYTES, `${text.length}`);
  parseCoordinatorMessage(text);
});

Deno.test("parseMemberMessage() refuses what is not exactly a message, in one line", () => {
  const good = hello(1);
  const wrong: [unknown, RegExp][] = [
    [null, /not as expected/],
    [{ type: "boo" }, /not as expected at type/],
    [{ ...good, extra: 1 }, /not as expected/],
    [
      { ...good, protocol: 2, config: undefined },
      /^It has version 0\.1\.0 and speaks protocol 2, this coordinator has version \S+ and speaks protocol \d+; use the/,
    ],
    [{ ...good, protocol: 1, version: "a\nb" }, /^It has version unknown and speaks protocol 1,/],
    [{ ...good, config: [["a", "x".repeat(65)]] }, /at config.0.1/],
    [{ ...good, config: [["a\n", "1"]] }, /at config.0.0/],
    [{ ...good, config: Array(201).fill(["a", "1"]) }, /at config/],
    [{ ...good, config: [["a", "1", "2"]] }, /at config.0/],
    [{ ...good, memberId: "a/b" }, /at memberId/],
    [{ ...good, memberId: "" }, /at memberId/],
    [{ ...good, process: "1" }, /at process/],
    [{ ...good, url: "http://x" }, /at url/],
    [{ ...good, url: "ws://x\ny" }, /at url/],
    [{ ...good, run: "a\u001b[2J" }, /at run/],
    [{ ...good, appliedStep: -1 }, /at appliedStep/],
    [{ ...good, appliedStep: 2 ** 32 }, /at appliedStep/],
    [{ ...good, digest: "DEADBEEF" }, /at digest/],
    [{ ...good, held: { epoch: 1, step: 1.5, digest: digestOf(1) } }, /at held.step/],
    [
      { type: "heartbeat", epoch: 1, step: 1, tokensPerSecond: 1, exposedShare: 2, computed: 0 },
      /at exposedShare/,
    ],
    [{ type: "ready", epoch: 1, step: 1, digest: digestOf(1), workMs: null, slowest: null }, /at workMs/],
    [{ type: "failed", epoch: 1, step: 1, peer: null, reason: "x".repeat(501) }, /at reason/],
  ];
  for (const [value, expected] of wrong) {
    const error = assertThrows(() => parseMemberMessage(JSON.stringify(value)), UserError);
    assert(expected.test(error.message) && !error.message.includes("\n"), error.message);
  }
  assertThrows(() => parseMemberMessage("{"), UserError, "not JSON");
});

Deno.test("toSettings() cuts a config to what a hello may carry", () => {
  const settings = Array.from(
    { length: 300 },
    (_, i) => [`key${i}\n`.padEnd(90, "k"), "ü".repeat(90)] as const,
  );
  const config = toSettings(settings);
  const text = JSON.stringify(hello(1, { config }));
  assert(text.length < MAX_MESSAGE_BYTES, `${text.length}`);
  parseMemberMessage(text);
  assertEquals(config[0], ["key0 ".padEnd(63, "k") + "…", "ü".repeat(63) + "…"]);
  assertEquals(toSettings([["seed", "7"]]), [["seed", "7"]]);
});

Deno.test("a frame above the cap is not parsed", () => {
  assertThrows(
    () => parseMemberMessage(" ".repeat(MAX_MESSAGE_BYTES + 1)),
    UserError,
    "more than 65536 bytes",
  );
  assertThrows(() => parseMemberMessage(`"${"ü".repeat(40_000)}"`), UserError, "more than 65536 bytes");
});

Deno.test("toReason() makes one line that a message may carry", () => {
  const text = toReason(`a\nb\u0007${"😀".repeat(300)}`);
  assert(text.startsWith("a b 😀") && text.length <= 500 && text.isWellFormed());
  parseCoordinatorMessage(JSON.stringify({ type: "hold", reason: text }));
  assertEquals(toReason("\n"), "no reason given");
});
