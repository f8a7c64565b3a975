/**
 * The binary frame of the data plane: one WebSocket message, a header of 48 bytes (little endian) and a payload.
 *
 * | byte | field                                                        |
 * | ---- | ------------------------------------------------------------ |
 * | 0    | magic, "BLMY"                                                |
 * | 4    | version, type, wire type, zero: a byte each                  |
 * | 8    | bucket                                                       |
 * | 12   | epoch                                                        |
 * | 16   | step                                                         |
 * | 20   | piece                                                        |
 * | 24   | offset in bytes, 64 bits                                     |
 * | 32   | bytes of the payload                                         |
 * | 36   | checksum of the payload, see laneHash.ts                     |
 * | 40   | xxHash32 of bytes 0 to 39                                    |
 * | 44   | zero                                                         |
 */
import { xxHash32 } from "./checksum.ts";
import { checksumOf, hashBytes } from "./laneHash.ts";

export const HEADER_BYTES = 48;
export const MAX_PAYLOAD_BYTES = 1 << 20;

const MAGIC = 0x594d4c42;
const VERSION = 2;
const HASHED_BYTES = 40;

/** What a frame brings: a part of an array, or (the last three) a word between two links. */
export const FRAME_TYPES = ["partial", "sum", "state", "credit", "ping", "pong"] as const;
export type FrameType = (typeof FRAME_TYPES)[number];

const BYTES_PER_VALUE = { bytes: 1, f32: 4, bf16: 2 } as const;
/** How the payload's values are written. */
export type WireType = keyof typeof BYTES_PER_VALUE;
export const WIRE_TYPES = ["bytes", "f32", "bf16"] as const satisfies readonly WireType[];

export interface FrameHeader {
  readonly type: FrameType;
  readonly wireType: WireType;
  /** Which array; the sender and the receiver have agreed on its length. */
  readonly bucket: number;
  readonly epoch: number;
  readonly step: number;
  readonly piece: number;
  /** Bytes from the array's beginning, as it is written on the wire. */
  readonly offset: number;
}

export interface Frame extends FrameHeader {
  /** When received: a view of the message, eight bytes aligned. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** What the payload's is to be; see {@linkcode isIntact}. */
  readonly checksum: number;
}

/** A frame to send; its payload may lie in shared memory, which a WebSocket doesn't take. */
export interface OutgoingFrame extends FrameHeader {
  readonly payload: Uint8Array<ArrayBufferLike>;
  /** The payload's, where somebody knows it; asked for when the frame leaves. */
  readonly checksum?: () => number;
}

/** What was wrong with a message that is no frame. */
export type FrameFault =
  | "shorter than a header"
  | "wrong magic"
  | "unknown version"
  | "unknown type"
  | "unknown wire type"
  | "reserved bytes are not zero"
  | "payload over the cap"
  | "length is not the payload's"
  | "payload on a frame that has none"
  | "unknown bucket"
  | "cuts a value"
  | "outside of its bucket"
  | "wrong checksum";

/** What a receiver knows before a frame comes. */
export interface FrameBounds {
  readonly maxPayload: number;
  /** Bytes of the array that the frame is a part of, on the wire; undefined: there is no such array. */
  readonly arrayBytes: (header: FrameHeader) => number | undefined;
}

/** Whether a frame carries a part of an array: these frames use up credit. */
export function isData(type: FrameType): boolean {
  return type === "partial" || type === "sum" || type === "state";
}

/**
 * Writes a frame to the beginning of `into`, whose offset is a multiple of four.
 * @returns the part of `into` that is the message.
 */
export function encodeFrame(into: Uint8Array<ArrayBuffer>, frame: OutgoingFrame): Uint8Array<ArrayBuffer> {
  const { payload } = frame;
  const numBytes = HEADER_BYTES + payload.byteLength;
  if (numBytes > into.byteLength) {
    throw new Error(`A frame of ${numBytes} bytes does not fit ${into.byteLength}`);
  }
  const view = new DataView(into.buffer, into.byteOffset, HEADER_BYTES);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint8(5, FRAME_TYPES.indexOf(frame.type));
  view.setUint8(6, WIRE_TYPES.indexOf(frame.wireType));
  view.setUint8(7, 0);
  view.setUint32(8, frame.bucket, true);
  view.setUint32(12, frame.epoch, true);
  view.setUint32(16, frame.step, true);
  view.setUint32(20, frame.piece, true);
  view.setUint32(24, frame.offset % 2 ** 32, true);
  view.setUint32(28, Math.floor(frame.offset / 2 ** 32), true);
  view.setUint32(32, payload.byteLength, true);
  view.setUint32(36, frame.checksum?.() ?? payloadChecksum(payload), true);
  view.setUint32(40, headerChecksum(view), true);
  view.setUint32(44, 0, true);
  into.set(payload, HEADER_BYTES);
  return into.subarray(0, numBytes);
}

/**
 * The frame that a message holds, or what is wrong with it. Nothing is copied, and nothing is read beyond the message.
 * Its payload is yet to be checked: `isIntact`.
 */
export function decodeFrame(message: ArrayBuffer, bounds: FrameBounds): Frame | FrameFault {
  if (message.byteLength < HEADER_BYTES) return "shorter than a header";
  const view = new DataView(message, 0, HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC) return "wrong magic";
  if (view.getUint8(4) !== VERSION) return "unknown version";
  const type = FRAME_TYPES[view.getUint8(5)];
  if (type === undefined) return "unknown type";
  const wireType = WIRE_TYPES[view.getUint8(6)];
  if (wireType === undefined) return "unknown wire type";
  if (view.getUint8(7) !== 0 || view.getUint32(44, true) !== 0) return "reserved bytes are not zero";
  const numBytes = view.getUint32(32, true);
  if (numBytes > bounds.maxPayload) return "payload over the cap";
  if (numBytes !== message.byteLength - HEADER_BYTES) return "length is not the payload's";

  const header = {
    type,
    wireType,
    bucket: view.getUint32(8, true),
    epoch: view.getUint32(12, true),
    step: view.getUint32(16, true),
    piece: view.getUint32(20, true),
    offset: view.getUint32(24, true) + view.getUint32(28, true) * 2 ** 32,
  };
  if (isData(type)) {
    const arrayBytes = bounds.arrayBytes(header);
    if (arrayBytes === undefined) return "unknown bucket";
    if (!(header.offset + numBytes <= arrayBytes)) return "outside of its bucket";
    const perValue = BYTES_PER_VALUE[wireType];
    if (header.offset % perValue !== 0 || numBytes % perValue !== 0) return "cuts a value";
  } else if (numBytes !== 0) {
    return "payload on a frame that has none";
  }
  if (view.getUint32(40, true) !== headerChecksum(view)) return "wrong checksum";
  return { ...header, payload: new Uint8Array(message, HEADER_BYTES), checksum: view.getUint32(36, true) };
}

/** Is a frame's payload what was sent? */
export function isIntact({ payload, checksum }: Frame): boolean {
  return payloadChecksum(payload) === checksum;
}

/** See laneHash.ts. */
export function payloadChecksum(payload: Uint8Array): number {
  return checksumOf(hashBytes(payload), payload.byteLength);
}

function headerChecksum({ buffer, byteOffset }: DataView): number {
  return xxHash32(new Uint8Array(buffer, byteOffset, HASHED_BYTES));
}
