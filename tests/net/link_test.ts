import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ClosedError } from "../../src/net/link/channel.ts";
import { encodeFrame, type Frame, HEADER_BYTES, type OutgoingFrame } from "../../src/net/link/frame.ts";
import { Link, type LinkOptions } from "../../src/net/link/link.ts";
import { openPair, type Pair, randomBytes, randomNumbers } from "./sockets.ts";

const MAX_PAYLOAD = 1000;
const WINDOW = 4 * (HEADER_BYTES + MAX_PAYLOAD);
const SIZES = { maxPayload: MAX_PAYLOAD, windowBytes: WINDOW };

const frame: OutgoingFrame = {
  type: "partial",
  wireType: "bytes",
  bucket: 0,
  epoch: 1,
  step: 2,
  piece: 0,
  offset: 0,
  payload: new Uint8Array(),
};

function makeLink(channel: Pair["client"], options: Partial<LinkOptions> = {}): Link {
  return new Link(channel, { arrayBytes: () => 1 << 30, onFrame: () => {}, ...options });
}

/** What a link would send, for peers that are no links. */
function message(changes: Partial<OutgoingFrame>): Uint8Array<ArrayBuffer> {
  const whole = { ...frame, ...changes };
  return encodeFrame(new Uint8Array(HEADER_BYTES + whole.payload.length), whole);
}

/** Resolves when the event loop has come round so many times. */
async function turns(count: number) {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve));
}

Deno.test("Link carries frames of odd sizes both ways at once, in order", async () => {
  await using pair = await openPair();
  const random = randomNumbers(6);
  const sizes = [0, 1, 3, 65535, 65536, 1 << 20, 7, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1];
  const payloads = sizes.map((size) => randomBytes(size, random));
  async function run(channel: Pair["client"]) {
    const got: Frame[] = [];
    const all = Promise.withResolvers<void>();
    const onFrame = (frame: Frame) => {
      got.push(frame);
      if (got.length === sizes.length) all.resolve();
    };
    const link = makeLink(channel, { onFrame });
    await Promise.all(payloads.map((payload, piece) => link.send({ ...frame, piece, payload })));
    await all.promise;
    assertEquals(got.map(({ piece }) => piece), sizes.map((_, i) => i));
    for (const { piece, payload } of got) assertEquals(payload, payloads[piece]);
    return link;
  }
  const links = await Promise.all([run(pair.client), run(pair.server)]);
  for (const link of links) assert(await link.ping() >= 0);
});

Deno.test("Link.send() waits while the other side doesn't consume", async () => {
  await using pair = await openPair();
  const held: { frame: Frame; consume: () => void }[] = [];
  makeLink(pair.server, {
    ...SIZES,
    onFrame: (frame) => new Promise((resolve) => held.push({ frame, consume: resolve })),
  });
  const link = makeLink(pair.client, SIZES);
  let numSent = 0;
  const payload = new Uint8Array(MAX_PAYLOAD);
  const sends = Array.from({ length: 11 }, async (_, piece) => {
    await link.send({ ...frame, piece, payload });
    numSent++;
  });
  while (held.length < 4) await turns(1);
  await turns(20);
  assertEquals([held.length, numSent, link.bytesInFlight], [4, 4, WINDOW]);
  held[0].consume();
  while (held.length < 5) await turns(1);
  await turns(20);
  assertEquals([held.length, numSent, link.bytesInFlight], [5, 5, WINDOW]);
  for (let i = 1; i < 11; i++) {
    while (held.length <= i) await turns(1);
    held[i].consume();
  }
  await Promise.all(sends);
  while (link.bytesInFlight > WINDOW / 4) await turns(1);
  assertEquals(held.map(({ frame }) => frame.piece), held.map((_, i) => i));
});

Deno.test("Link agrees on the smaller of two windows", async () => {
  await using pair = await openPair();
  let numTaken = 0;
  const all = Promise.withResolvers<void>();
  const onFrame = () => ++numTaken === 50 ? all.resolve() : undefined;
  makeLink(pair.server, { maxPayload: MAX_PAYLOAD, windowBytes: 10 * WINDOW, onFrame });
  const link = makeLink(pair.client, SIZES);
  const payload = new Uint8Array(MAX_PAYLOAD);
  for (let i = 0; i < 50; i++) await link.send({ ...frame, payload });
  assert(link.bytesInFlight <= WINDOW);
  await all.promise;
});

Deno.test("Link closes on whatever is no frame of its own", async () => {
  const large = new Uint8Array(MAX_PAYLOAD);
  const cases: [string, (string | Uint8Array<ArrayBuffer>)[]][] = [
    ["text among frames", ["hello"]],
    ["shorter than a header", [new Uint8Array(3)]],
    ["wrong magic", [new Uint8Array(100)]],
    ["wrong checksum", [message({ payload: new Uint8Array(9) }).fill(1, 50, 51)]],
    ["unknown bucket", [message({ bucket: 5 })]],
    ["outside of its bucket", [message({ offset: 2 ** 30 + 1 })]],
    ["message of 2048 bytes", [message({ payload: new Uint8Array(2000) })]],
    ["more data than there was credit for", Array.from({ length: 5 }, () => message({ payload: large }))],
    ["more data than there was credit for", Array.from({ length: 105 }, () => message({}))],
    ["credit for what was not sent", [message({ type: "credit", offset: 1, bucket: WINDOW })]],
    ["credit for what was not sent", [message({ type: "credit", bucket: 10 })]],
    ["pong without a ping", [message({ type: "pong" })]],
  ];
  await using pairs = new AsyncDisposableStack();
  for (const [detail, messages] of cases) {
    const { client, server } = pairs.use(await openPair());
    const arrayBytes = ({ bucket }: { bucket: number }) => bucket === 0 ? 1 << 30 : undefined;
    makeLink(server, { ...SIZES, arrayBytes, onFrame: () => new Promise(() => {}) });
    for (const message of messages) client.send(message);
    assertEquals(await server.closed, { kind: "fault", by: "us", detail });
    assertEquals((await client.closed).by, "peer");
  }
});

Deno.test("Link closes on more words than may come", async () => {
  await using pair = await openPair();
  makeLink(pair.server, { maxWordsPerSecond: 10 });
  for (let i = 0; i < 50; i++) pair.client.send(message({ type: "ping", offset: i }));
  assertEquals(await pair.server.closed, { kind: "fault", by: "us", detail: "too many words a second" });
});

Deno.test("Link closes as a fault when a frame is refused", async () => {
  const refusals: LinkOptions["onFrame"][] = [
    () => {
      throw new Error("value 3 is not finite");
    },
    () => Promise.reject(new Error("value 3 is not finite")),
  ];
  for (const onFrame of refusals) {
    await using pair = await openPair();
    makeLink(pair.server, { onFrame });
    const link = makeLink(pair.client);
    await link.send({ ...frame, payload: new Uint8Array(4) });
    assertEquals(await link.closed, { kind: "fault", by: "peer", detail: "value 3 is not finite" });
  }
});

Deno.test("Link rejects sends and pings that wait when it closes, and those that come later", async () => {
  await using pair = await openPair();
  const link = makeLink(pair.client, SIZES);
  // The other side never gives credit and never answers.
  const waiting = [link.send(frame), link.ping()];
  pair.server.close("left", "done");
  for (const promise of waiting) await assertRejects(() => promise, ClosedError, "peer left: done");
  await assertRejects(() => link.send(frame), ClosedError, "peer left: done");
  await assertRejects(() => link.ping(), ClosedError, "peer left: done");
});

Deno.test("Link refuses what its caller must not do", async () => {
  await using pair = await openPair();
  assertThrows(() => makeLink(pair.client, { ...SIZES, windowBytes: 2000 }), Error, "less than two frames");
  const link = makeLink(pair.server, SIZES);
  assertThrows(() => link.send({ ...frame, type: "credit" }), Error, "the link's own");
  assertThrows(
    () => link.send({ ...frame, payload: new Uint8Array(MAX_PAYLOAD + 1) }),
    Error,
    "over the cap",
  );
});

Deno.test("Link.keepAlive() holds a link that answers and ends one that doesn't", async () => {
  await using pair = await openPair();
  const link = makeLink(pair.client);
  link.keepAlive(10);
  const other = makeLink(pair.server);
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    await other.ping();
  }
  assert(!link.channel.isClosed);
  link.close();
  assertEquals((await other.closed).kind, "left");

  await using mute = await openPair();
  const alone = makeLink(mute.client);
  alone.keepAlive(10);
  assertEquals((await alone.closed).kind, "silent");
});

Deno.test("Link outlives a flood of mutated frames with bounded memory", async () => {
  const random = randomNumbers(7);
  await using opened = new AsyncDisposableStack();
  let numFaults = 0;
  for (let round = 0; round < 20; round++) {
    const { client, server } = opened.use(await openPair());
    let held = 0;
    makeLink(server, {
      ...SIZES,
      arrayBytes: ({ bucket }) => bucket === 0 ? 4000 : undefined,
      onFrame: ({ payload }) => {
        held += payload.length;
        return new Promise(() => {});
      },
    });
    for (let i = 0; i < 200 && !client.isClosed; i++) {
      const bytes = message({ payload: randomBytes(random(MAX_PAYLOAD), random) });
      if (random(4) === 0) bytes[random(bytes.length)] ^= 1 + random(255);
      client.send(bytes);
      if (i % 20 === 0) await turns(1);
    }
    if ((await server.closed).kind === "fault") numFaults++;
    await client.closed;
    assert(held <= WINDOW, `${held} bytes held`);
  }
  assertEquals(numFaults, 20);
});
