/**
 * How a member copies another one's state and follows it: over a link of its own, which the follower dials.
 * It asks for one thing at a time; the donor answers in `state` frames, whose `piece` says what they carry:
 *
 *     follower -> donor   word {want: "state"}
 *     donor -> follower   word {kind: "state", step, digest, bytes}, then the state in chunks,
 *                         then word {kind: "end", hash}: of all chunks, as the donor had them
 *     follower -> donor   word {want: "sum", step}
 *     donor -> follower   the sum of that step in chunks, or word {kind: "lacks"}
 *
 * Chunks come in order, each with its step and offset under the frame's checksum, and their credit goes
 * back as the follower takes them: neither side holds more than a window of what is on its way. A sum is
 * taken only if the digest of the state that it leads to is the committed one.
 */
import { z } from "zod";
import type { Frame, FrameHeader } from "../link/frame.ts";
import type { FrameLength } from "../link/frameLength.ts";
import type { Link } from "../link/link.ts";
import type { StreamHash } from "../sum/bulkHash.ts";

export const STREAMS = ["word", "state", "sum"] as const;
export type Stream = (typeof STREAMS)[number];

/** The longest word. */
export const MAX_WORD_BYTES = 1024;

const step = z.int().min(0).max(2 ** 32 - 1);
const requestSchema = z.discriminatedUnion("want", [
  z.strictObject({ want: z.literal("state") }),
  z.strictObject({ want: z.literal("sum"), step }),
]);
const answerSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("state"),
    step,
    digest: z.string().regex(/^[0-9a-f]{8,64}$/),
    bytes: z.int().min(0),
  }),
  z.strictObject({ kind: z.literal("end"), hash: z.string().regex(/^[0-9a-f]{16}$/) }),
  z.strictObject({ kind: z.literal("lacks") }),
]);

export type Request = z.infer<typeof requestSchema>;
export type Answer = z.infer<typeof answerSchema>;

/** What a frame of a follower's link carries; undefined: nothing that is known. */
export function streamOf({ type, wireType, piece }: FrameHeader): Stream | undefined {
  return type === "state" && wireType === "bytes" ? STREAMS[piece] : undefined;
}

/** @throws Error if it is no request */
export function parseRequest({ payload }: Frame): Request {
  return requestSchema.parse(JSON.parse(new TextDecoder().decode(payload)));
}

/** @throws Error if it is no answer */
export function parseAnswer({ payload }: Frame): Answer {
  return answerSchema.parse(JSON.parse(new TextDecoder().decode(payload)));
}

export function sendWord(link: Link, word: Request | Answer): Promise<void> {
  return sendChunk(link, "word", 0, 0, new TextEncoder().encode(JSON.stringify(word)));
}

/** Sends a frame of a stream, as soon as there is credit. */
export function sendChunk(
  link: Link,
  stream: Stream,
  step: number,
  offset: number,
  payload: Uint8Array<ArrayBufferLike>,
): Promise<void> {
  const piece = STREAMS.indexOf(stream);
  return link.send({ type: "state", wireType: "bytes", bucket: 0, epoch: 0, step, piece, offset, payload });
}

/**
 * Sends a part of a stream in frames.
 *
 * @param offset of the part
 * @param frames says how long they are
 * @param hash takes what each carries
 */
export async function sendPart(
  link: Link,
  stream: Stream,
  step: number,
  offset: number,
  part: Uint8Array<ArrayBufferLike>,
  frames: FrameLength,
  hash?: StreamHash,
): Promise<void> {
  for (let at = 0; at < part.length;) {
    const chunk = part.subarray(at, at + frames.next(link.bytesAcknowledged, performance.now()));
    hash?.add(chunk);
    await sendChunk(link, stream, step, offset + at, chunk);
    at += chunk.length;
  }
}
