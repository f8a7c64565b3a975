import { assert, assertEquals, assertThrows } from "@std/assert";
import { z } from "zod";
import {
  ControlLink,
  type ControlLinkOptions,
  MAX_CONTROL_CHARS,
} from "../../src/net/control/controlLink.ts";
import { openPair, type Pair } from "./sockets.ts";

const schema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("ready"), step: z.int().min(0) }),
  z.strictObject({ type: z.literal("leaving") }),
]);
type Word = z.infer<typeof schema>;

function makeLink(channel: Pair["client"], options: Partial<ControlLinkOptions<Word>> = {}) {
  return new ControlLink<Word, Word>(channel, { schema, onMessage: () => {}, ...options });
}

Deno.test("ControlLink carries checked messages both ways", async () => {
  await using pair = await openPair();
  const got = Promise.withResolvers<Word[]>();
  const words: Word[] = [];
  makeLink(pair.server, {
    onMessage: (word) => {
      words.push(word);
      if (word.type === "leaving") got.resolve(words);
    },
  });
  const link = makeLink(pair.client);
  link.send({ type: "ready", step: 3 });
  link.send({ type: "leaving" });
  assertEquals(await got.promise, [{ type: "ready", step: 3 }, { type: "leaving" }]);
  link.close("done");
  link.send({ type: "leaving" });
  assertEquals(await pair.server.closed, { kind: "left", by: "peer", detail: "done" });
});

Deno.test("ControlLink closes on whatever is no message of its own", async () => {
  const cases: [string, string | Uint8Array<ArrayBuffer>][] = [
    ["bytes among messages", new Uint8Array(3)],
    ["Unexpected end of JSON input", ""],
    ["step: Invalid input: expected number, received string", '{"type":"ready","step":"3"}'],
    ["step: Invalid input: expected number, received undefined", '{"type":"ready"}'],
    [': Unrecognized key: "__proto__"', '{"type":"leaving","__proto__":{}}'],
    ["type: Invalid discriminator", '{"type":"other"}'],
    ["message of 65537 bytes", '"' + "x".repeat(MAX_CONTROL_CHARS)],
  ];
  await using pairs = new AsyncDisposableStack();
  for (const [detail, message] of cases) {
    const { client, server } = pairs.use(await openPair());
    makeLink(server);
    client.send(message);
    const reason = await client.closed;
    assertEquals([reason.kind, reason.by], ["fault", "peer"]);
    assertEquals(reason.detail.slice(0, detail.length), detail);
  }
});

Deno.test("ControlLink closes when a message is refused", async () => {
  await using pair = await openPair();
  makeLink(pair.server, {
    onMessage: ({ type }) => {
      throw new Error(`${type} before hello`);
    },
  });
  const link = makeLink(pair.client);
  link.send({ type: "leaving" });
  assertEquals(await link.closed, { kind: "fault", by: "peer", detail: "leaving before hello" });
});

Deno.test("ControlLink closes on more messages than may come", async () => {
  await using pair = await openPair();
  let numTaken = 0;
  makeLink(pair.server, { onMessage: () => numTaken++, maxPerSecond: 1 });
  const link = makeLink(pair.client);
  for (let i = 0; i < 100; i++) link.send({ type: "ready", step: i });
  assertEquals((await pair.server.closed).kind, "overflow");
  assertEquals((await link.closed).by, "peer");
  assertEquals(numTaken, 1);
});

Deno.test("ControlLink.send() refuses a message over the cap", async () => {
  await using pair = await openPair();
  const link = new ControlLink<Word, string>(pair.client, { schema, onMessage: () => {} });
  assertThrows(() => link.send("x".repeat(MAX_CONTROL_CHARS)), Error, "over the cap");
});

Deno.test("ControlLink.keepAlive() holds a link whose beats are taken, and ends one where they aren't", async () => {
  await using pair = await openPair();
  const taken = Promise.withResolvers<void>();
  const server = makeLink(pair.server, {
    onMessage: (word) => word.type === "ready" && word.step === 12 ? taken.resolve() : undefined,
  });
  const link = makeLink(pair.client);
  let step = 0;
  link.keepAlive(10, () => link.send({ type: "ready", step: step++ }));
  server.keepAlive(1000, () => {});
  await taken.promise;
  assert(!link.channel.isClosed);

  await using mute = await openPair();
  const alone = makeLink(mute.client);
  alone.keepAlive(10, () => alone.send({ type: "leaving" }));
  assertEquals((await alone.closed).kind, "silent");
});
