import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { crc32c, maskedCrc32c } from "../../src/formats/crc32c.ts";
import { cutBack, openEventFile } from "../../src/formats/tensorboard.ts";
import { inTempDir } from "./support.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

/** CRC-32C bit by bit, without the table. */
function slowCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function slowMasked(bytes: Uint8Array): number {
  const crc = BigInt(slowCrc(bytes));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
}

/** A message as field number to its values: numbers, or bytes. */
type Message = Map<number, (number | Uint8Array)[]>;

function parse(bytes: Uint8Array): Message {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields: Message = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = view.getUint8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  while (at < bytes.length) {
    const key = varint();
    let value: number | Uint8Array;
    if (key % 8 === 0) value = varint();
    else if (key % 8 === 1) value = view.getFloat64((at += 8) - 8, true);
    else if (key % 8 === 5) value = view.getFloat32((at += 4) - 4, true);
    else {
      const length = varint();
      value = bytes.subarray(at, at += length);
    }
    const field = Math.floor(key / 8);
    fields.set(field, [...fields.get(field) ?? [], value]);
  }
  return fields;
}

const message = (of: Message, field: number, index = 0) => parse(of.get(field)![index] as Uint8Array);
const text = (of: Message, field: number) => new TextDecoder().decode(of.get(field)![0] as Uint8Array);

/** Reads the records of a file, with both checksums computed the slow way. */
function readRecords(path: string): Message[] {
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  const records: Message[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    assertEquals(view.getUint32(at + 8, true), slowMasked(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), slowMasked(data));
    records.push(parse(data));
    at += 16 + length;
  }
  return records;
}

const steps = (path: string) => readRecords(path).slice(1).map((record) => record.get(2)![0]);

Deno.test("crc32c() gives the known answers of RFC 3720", () => {
  assertEquals(crc32c(utf8("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c);
  assertEquals(crc32c(new Uint8Array()), 0);
});

Deno.test("maskedCrc32c() rotates and adds", () => {
  for (const sample of ["", "a", "123456789", "brain.Event:2"]) {
    assertEquals(maskedCrc32c(utf8(sample)), slowMasked(utf8(sample)));
  }
});

Deno.test("openEventFile() writes records that an independent reader understands", () =>
  inTempDir((folder) => {
    const path = join(folder, "events.out.tfevents.test");
    const longText = "# Übersicht\n" + "x".repeat(300);
    {
      using events = openEventFile(path, () => 1234.5);
      events.scalars(0, { "train/loss": 2.5, "train/größe": NaN });
      events.scalars(2 ** 40 + 3, { "train/loss": 1e-20 });
      events.text(300, "sample", longText);
    }
    const [version, first, second, third] = readRecords(path);
    assertEquals(version.get(1), [1234.5]);
    assertEquals(text(version, 3), "brain.Event:2");
    assertEquals(first.get(2), [0]);
    const summary = message(first, 5);
    assertEquals(text(message(summary, 1, 0), 1), "train/loss");
    assertEquals(message(summary, 1, 0).get(2), [2.5]);
    assertEquals(text(message(summary, 1, 1), 1), "train/größe");
    assertEquals(message(summary, 1, 1).get(2), [NaN]);
    assertEquals(second.get(2), [2 ** 40 + 3]);
    assertAlmostEquals(message(message(second, 5), 1).get(2)![0] as number, 1e-20, 1e-26);
    const value = message(message(third, 5), 1);
    assertEquals(text(value, 1), "sample");
    assertEquals(text(message(message(value, 9), 1), 1), "text");
    assertEquals(message(value, 8).get(1), [7]);
    assertEquals(text(message(value, 8), 8), longText);
  }));

Deno.test("openEventFile() appends to a file and writes the version once", () =>
  inTempDir((folder) => {
    const path = join(folder, "events.out.tfevents.test");
    for (const step of [1, 2, 3]) {
      using events = openEventFile(path, () => step);
      events.scalars(step, { loss: step });
    }
    assertEquals(steps(path), [1, 2, 3]);
    assertEquals(readRecords(path).map((record) => record.has(3)), [true, false, false, false]);
  }));

Deno.test("openEventFile() refuses steps that are no whole numbers, and a path that can't be written", () =>
  inTempDir((folder) => {
    using events = openEventFile(join(folder, "tfevents"));
    assertThrows(() => events.scalars(-1, { loss: 0 }), RangeError);
    assertThrows(() => events.scalars(0.5, { loss: 0 }), RangeError);
    assertThrows(() => openEventFile(join(folder, "absent", "tfevents")), UserError, "Cannot write");
    assertThrows(() => openEventFile("/dev/full"), UserError, "free space");
  }));

Deno.test("cutBack() drops later records, and writing goes on from there", () =>
  inTempDir((folder) => {
    const path = join(folder, "events.out.tfevents.test");
    const write = (from: number, to: number) => {
      using events = openEventFile(path, () => 0);
      for (let step = from; step <= to; step++) events.scalars(step, { loss: step });
    };
    write(1, 200);
    const straight = Deno.readFileSync(path);
    cutBack(path, 200);
    assertEquals(Deno.readFileSync(path), straight);
    cutBack(path, 130);
    assertEquals(steps(path), Array.from({ length: 130 }, (_, i) => i + 1));
    write(131, 200);
    assertEquals(Deno.readFileSync(path), straight);
    cutBack(path, 0);
    assertEquals(steps(path), []);
    assertEquals(readRecords(path).length, 1);
  }));

Deno.test("cutBack() drops a record that a crash tore, wherever it tore it", () =>
  inTempDir((folder) => {
    const path = join(folder, "events.out.tfevents.test");
    {
      using events = openEventFile(path, () => 0);
      events.scalars(1, { loss: 1 });
    }
    const whole = Deno.readFileSync(path);
    {
      using events = openEventFile(path, () => 0);
      events.scalars(2, { loss: 2 });
    }
    const longer = Deno.readFileSync(path);
    for (let length = whole.length + 1; length < longer.length; length++) {
      Deno.writeFileSync(path, longer.subarray(0, length));
      cutBack(path, 9);
      assertEquals(Deno.readFileSync(path), whole);
    }
    for (const damaged of [whole.length + 3, whole.length + 14, longer.length - 1]) {
      Deno.writeFileSync(path, longer.with(damaged, longer[damaged] ^ 1));
      cutBack(path, 9);
      assertEquals(Deno.readFileSync(path), whole);
    }
    const padded = new Uint8Array(whole.length + 5000); // ends in blocks that never reached the disk
    padded.set(whole);
    Deno.writeFileSync(path, padded);
    cutBack(path, 9);
    assertEquals(Deno.readFileSync(path), whole);
  }));

Deno.test("cutBack() passes over an absent or empty file and refuses a foreign one", () =>
  inTempDir((folder) => {
    const path = join(folder, "file");
    cutBack(path, 1);
    Deno.writeTextFileSync(path, "");
    cutBack(path, 1);
    Deno.writeTextFileSync(path, "some notes of mine that are no event file");
    assertThrows(() => cutBack(path, 1), UserError, "no TensorBoard event file");
    assertEquals(Deno.readTextFileSync(path), "some notes of mine that are no event file");
  }));
