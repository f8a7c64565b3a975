import { assert, assertEquals, assertThrows } from "@std/assert";
import { xxHash32 } from "../../src/net/link/checksum.ts";
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  FRAME_TYPES,
  type FrameBounds,
  type FrameFault,
  HEADER_BYTES,
  isIntact,
  MAX_PAYLOAD_BYTES,
  type OutgoingFrame,
  payloadChecksum,
  WIRE_TYPES,
} from "../../src/net/link/frame.ts";
import { randomBytes, randomNumbers } from "./sockets.ts";

const BUCKET_BYTES = [4000, 8 << 20, 2 ** 40];
const bounds: FrameBounds = {
  maxPayload: MAX_PAYLOAD_BYTES,
  arrayBytes: ({ bucket }) => BUCKET_BYTES[bucket],
};
const frame: OutgoingFrame = {
  type: "partial",
  wireType: "f32",
  bucket: 0,
  epoch: 2 ** 32 - 1,
  step: 7,
  piece: 3,
  offset: 400,
  payload: randomBytes(60, randomNumbers(3)),
};

function encode(frame: OutgoingFrame): ArrayBuffer {
  return encodeFrame(new Uint8Array(HEADER_BYTES + frame.payload.length), frame).buffer;
}

/** What a receiver makes of a message. */
function read(message: ArrayBuffer): Frame | FrameFault {
  const decoded = decodeFrame(message, bounds);
  return typeof decoded === "string" || isIntact(decoded) ? decoded : "wrong checksum";
}

/** A message whose header was changed by somebody who knows the checksum. */
function forge(change: (view: DataView) => void, from = frame): ArrayBuffer {
  const message = encode(from);
  change(new DataView(message));
  new DataView(message).setUint32(40, xxHash32(new Uint8Array(message, 0, 40)), true);
  return message;
}

Deno.test("decodeFrame() reads what encodeFrame() wrote", () => {
  const random = randomNumbers(4);
  for (const length of [0, 1, 3, 65535, 65536, 1 << 20]) {
    for (const offset of [0, 5, 2 ** 33 + 1]) {
      const payload = randomBytes(length, random);
      const sent: OutgoingFrame = { ...frame, wireType: "bytes", bucket: 2, offset, payload };
      assertEquals(read(encode(sent)), { ...sent, payload, checksum: payloadChecksum(payload) });
    }
  }
  for (const type of FRAME_TYPES) {
    for (const wireType of WIRE_TYPES) {
      const sent: OutgoingFrame = { ...frame, type, wireType, payload: new Uint8Array() };
      const payload = new Uint8Array();
      assertEquals(read(encode(sent)), { ...sent, payload, checksum: payloadChecksum(payload) });
    }
  }
});

Deno.test("encodeFrame() takes shared memory, and a place in a larger buffer", () => {
  const payload = new Uint8Array(new SharedArrayBuffer(8), 4);
  payload.set([1, 2, 3, 4]);
  const into = new Uint8Array(new ArrayBuffer(200), 8);
  const message = encodeFrame(into, { ...frame, payload });
  assertEquals([message.byteOffset, message.byteLength], [8, HEADER_BYTES + 4]);
  const decoded = decodeFrame(message.slice().buffer, bounds);
  assert(typeof decoded !== "string", String(decoded));
  assertEquals([...decoded.payload], [1, 2, 3, 4]);
  assertEquals(decoded.payload.byteOffset % 8, 0);
  assertThrows(() => encodeFrame(new Uint8Array(HEADER_BYTES), frame), Error, "does not fit");
});

Deno.test("decodeFrame() names what is wrong with a header", () => {
  const faults = [
    new ArrayBuffer(0),
    new ArrayBuffer(HEADER_BYTES - 1),
    forge((view) => view.setUint8(0, 0)),
    forge((view) => view.setUint8(4, 1)),
    forge((view) => view.setUint8(5, FRAME_TYPES.length)),
    forge((view) => view.setUint8(5, 3)), // a credit with a payload
    forge((view) => view.setUint8(6, WIRE_TYPES.length)),
    forge((view) => view.setUint8(7, 1)),
    forge((view) => view.setUint8(44, 1)),
    forge((view) => view.setUint32(8, 3, true)),
    forge((view) => view.setUint32(24, 3944, true)), // ends four bytes too late
    forge((view) => view.setUint32(28, 1, true)),
    forge((view) => view.setUint32(28, 2 ** 32 - 1, true)),
    forge((view) => view.setUint32(24, 402, true)),
    forge(() => {}, { ...frame, payload: new Uint8Array(3) }),
    forge((view) => view.setUint32(32, 59, true)),
    forge((view) => view.setUint32(32, 61, true)),
    forge((view) => view.setUint32(32, 0, true)),
    forge((view) => view.setUint32(32, 2 ** 32 - 1, true)),
    encode(frame).slice(0, -1),
  ].map((message) => decodeFrame(message, bounds));
  assertEquals(faults, [
    "shorter than a header",
    "shorter than a header",
    "wrong magic",
    "unknown version",
    "unknown type",
    "payload on a frame that has none",
    "unknown wire type",
    "reserved bytes are not zero",
    "reserved bytes are not zero",
    "unknown bucket",
    "outside of its bucket",
    "outside of its bucket",
    "outside of its bucket",
    "cuts a value",
    "cuts a value",
    "length is not the payload's",
    "length is not the payload's",
    "length is not the payload's",
    "payload over the cap",
    "length is not the payload's",
  ]);
  assert(typeof read(forge((view) => view.setUint32(24, 3940, true))) !== "string");
});

Deno.test("decodeFrame() finds every flipped bit", () => {
  const message = new Uint8Array(encode(frame));
  for (let bit = 0; bit < 8 * message.length; bit++) {
    const damaged = message.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    assertEquals(typeof read(damaged.buffer), "string", `bit ${bit}`);
  }
});

Deno.test("decodeFrame() survives random and mutated messages", () => {
  const random = randomNumbers(5);
  const whole = new Uint8Array(encode(frame));
  const faults = new Set<string>();
  for (let round = 0; round < 20_000; round++) {
    const message = round % 2 === 0
      ? randomBytes(random(100), random)
      : whole.slice(0, random(whole.length + 1));
    const numChanges = 1 + random(4);
    for (let i = 0; i < numChanges && message.length > 0; i++) {
      message[random(message.length)] ^= 1 + random(255);
    }
    const decoded = read(message.buffer);
    // Changes may cancel each other.
    if (typeof decoded === "string") faults.add(decoded);
    else assertEquals(message, whole);
  }
  assert(faults.size >= 6, [...faults].join());
});
