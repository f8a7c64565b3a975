/**
 * The messages of the control plane: JSON text frames between a member and the coordinator.
 *
 * A *step* s is the s-th of the run, from 1: it turns the state after s - 1 steps into the state after s
 * steps. The *digest* of a state is a hash chained over the steps that made it: the digest after step s is a
 * hash of the digest after s - 1 and of the reduced gradient of step s. So one string names both a state and
 * how it came about.
 */
import { z } from "zod";
import library from "../../../deno.json" with { type: "json" };
import { UserError } from "../../errors.ts";

/** Grows when a message changes; members and coordinator have the same one. */
export const PROTOCOL = 4;
/** A longer frame is not even parsed. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
/** Connections that a coordinator takes; the longest message (`epoch`) of so many stays below the cap. */
export const MAX_MEMBERS = 128;
/** Heartbeats after which the other side counts as silent. */
export const MISSED_HEARTBEATS = 3;
const MAX_REASON = 500;
/** A config's settings as they are told: so many, of so many characters each; longer ones are cut. */
const MAX_SETTINGS = 200;
const MAX_SETTING_CHARS = 64;

const u32 = z.int().min(0).max(2 ** 32 - 1);
const step = u32;
const epoch = u32;
const digest = z.string().regex(/^[0-9a-f]{8,64}$/);
const memberId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
const memberIds = z.array(memberId).max(MAX_MEMBERS);
/** Random, of a process as long as it lives. */
const processId = z.string().regex(/^[0-9a-f]{16}$/);
const url = z.string().max(256).regex(/^wss?:\/\/[^\s\p{Cc}]+$/u);
/** A line for people; no control characters, so that a peer can't write lines of its own into a log. */
const reason = z.string().min(1).max(MAX_REASON).regex(/^[^\p{Cc}]*$/u);
const name = z.string().min(1).max(128).regex(/^[^\p{Cc}]*$/u);

const settingText = z.string().max(MAX_SETTING_CHARS).regex(/^[^\p{Cc}]*$/u);
const settingSchema = z.tuple([settingText, settingText]);

/** What all members of a group have in common. */
export const identitySchema = z.strictObject({
  run: name,
  /** Of Bloomery: another one may compute other bits. */
  version: name,
  configDigest: digest,
  tokenizerHash: digest,
  virtualWorkers: z.int().min(1).max(65536),
  /** Digest of a few operations on the member's adapter: another one computes other bits. */
  probe: digest,
});

/** Who a member is, how it is reached and what it has, as it says in its first message. */
export const introductionSchema = z.strictObject({
  ...identitySchema.shape,
  memberId,
  /** Of its data plane. */
  url,
  appliedStep: step,
  digest,
});

/**
 * Where a member's run is kept, so that it outlives all processes: in a folder of the member's own, elsewhere by another
 * member, or by nobody as nobody asked for that.
 */
const keepsSchema = z.enum(["here", "elsewhere", "nowhere"]);

/** An epoch's members, and the spares that stood by when it began. */
const membershipSchema = z.strictObject({ epoch: u32.min(1), members: memberIds.min(1) });
/**
 * A hash of what a state *is*, where its digest says how it came about: members with the same digest whose hashes
 * differ have had a fault. Of the state before the step.
 */
const stateHash = digest.optional();
const heldSchema = z.strictObject({ epoch, step, digest, stateHash });

const memberMessageSchema = z.discriminatedUnion("type", [
  /** Here I am, this is what I have, and I am not in a step. The first message, and the answer to `abort`. */
  z.strictObject({
    type: z.literal("hello"),
    protocol: z.literal(PROTOCOL),
    ...introductionSchema.shape,
    /** Tells processes of one name apart. */
    process: processId,
    /** The newest epoch that this process was told of. */
    group: membershipSchema.nullable(),
    /** Its state is one that the group had, not one that was read from a disk. */
    survives: z.boolean(),
    /** Its state was compared with the others' in a committed step since it was copied or read from a disk. */
    isProven: z.boolean(),
    /** It has no state: step and digest name none. */
    isBlank: z.boolean(),
    keeps: keepsSchema,
    /** Of the newest state on its own disk; absent: as in 0, there is none. */
    saved: step.optional(),
    /** A reduced gradient whose `ready` has no answer yet. */
    held: heldSchema.nullable(),
    /** What `configDigest` is of, for people, where it differs; null: this link has carried it. */
    config: z.array(settingSchema).max(MAX_SETTINGS).nullable(),
  }),
  z.strictObject({
    type: z.literal("heartbeat"),
    /** The newest that it was told of; 0: none. */
    epoch,
    step,
    saved: step.optional(),
    tokensPerSecond: z.number().min(0),
    /** The part of a step in which nothing but the exchange went on. */
    exposedShare: z.number().min(0).max(1),
    /** The step under way if its own part of it is computed; 0: it isn't. */
    computed: step,
  }),
  /** The reduced gradient of the step is here whole; the digest is that of the state after it. */
  z.strictObject({
    type: z.literal("ready"),
    epoch,
    step,
    digest,
    stateHash,
    /** From the beginning of the step until this member's own gradients were done. */
    workMs: z.number().min(0),
    /** Whose frames came last, see `arrivals.ts`; null: nobody was waited for. */
    slowest: z.strictObject({ peer: memberId, afterMs: z.number().min(0), beyondMs: z.number().min(0) })
      .nullable(),
  }),
  /**
   * The member has given the step up; null: through its own fault. `skip`: whoever does the step finds what it
   * found, and the run's policy is to leave such a step out.
   */
  z.strictObject({
    type: z.literal("failed"),
    epoch,
    step,
    peer: memberId.nullable(),
    reason,
    skip: z.boolean().optional(),
  }),
  /** The member does no further step; `finished`: because the run has reached its end. */
  z.strictObject({ type: z.literal("leaving"), finished: z.boolean() }),
  /** A newcomer has the state of the group, a step or two aside. */
  z.strictObject({
    type: z.literal("caughtUp"),
    step,
    digest,
    /** See `hello`: who only lacked steps has copied nothing. */
    isProven: z.boolean(),
  }),
  /** From anybody with the token: how is the group? */
  z.strictObject({ type: z.literal("status") }),
]);

const statusSchema = z.strictObject({
  type: z.literal("status"),
  run: name.nullable(),
  phase: z.enum(["gathering", "training", "stopped"]),
  /** Why it waits or has stopped. */
  reason: reason.nullable(),
  epoch,
  step,
  members: z.array(z.strictObject({
    id: memberId,
    role: z.enum(["idle", "active", "aborting", "following", "warm"]),
    /** Virtual workers, `to` excluded; null: takes no part. */
    share: z.strictObject({ from: u32, to: u32 }).nullable(),
    step,
    silentMs: z.number().min(0),
    tokensPerSecond: z.number().min(0),
    exposedShare: z.number().min(0).max(1),
    /** Steps of this epoch in which all waited for it, and for how long. */
    lastSteps: u32,
    waitMs: z.number().min(0),
    /** Of that, through no longer work of its own. */
    linkMs: z.number().min(0),
    /** For how long it has been computing its part of the step under way; null: it isn't. */
    atWorkMs: z.number().min(0).nullable(),
    /** For how long it is kept out of epochs; null: it isn't. */
    asideMs: z.number().min(0).nullable(),
  })).max(MAX_MEMBERS),
});

const coordinatorMessageSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("welcome"), heartbeatMs: z.number().min(1) }),
  /**
   * The last word to a member; `retry`: a process started anew may join; `mismatch`: it is not of this coordinator's
   * group, whose run or settings are others.
   */
  z.strictObject({
    type: z.literal("refused"),
    reason,
    retry: z.boolean(),
    mismatch: z.boolean().optional(),
  }),
  /** The answer to `leaving`. */
  z.strictObject({ type: z.literal("released") }),
  /** The answer to a heartbeat. */
  z.strictObject({ type: z.literal("heartbeat") }),
  /**
   * Drops whatever earlier epochs left undone. Who is listed begins with step `step` on the state with the
   * digest (and catches up to it first); who isn't follows its donor.
   */
  z.strictObject({
    type: z.literal("epoch"),
    epoch,
    step,
    digest,
    members: z.array(z.strictObject({ id: memberId, url })).min(1).max(MAX_MEMBERS),
    /** Who stands by: of the group, but not in the epoch. */
    spares: memberIds,
    donor: memberId.nullable(),
    /** The first step is left out: a step without a sum. */
    skip: z.boolean(),
    /** Who keeps the run's last state, as no member does whose task that is; absent: one does, or nobody has to. */
    heir: memberId.optional(),
  }),
  z.strictObject({ type: z.literal("commit"), epoch, step, digest }),
  /** `isWrong`: this member's state is not what its digest says, and is to be copied from another. */
  z.strictObject({ type: z.literal("abort"), epoch, step, reason, isWrong: z.boolean().optional() }),
  /** Why nothing goes on. */
  z.strictObject({ type: z.literal("hold"), reason }),
  /** All goes on, but people should know. */
  z.strictObject({ type: z.literal("warning"), reason }),
  statusSchema,
]);

/** What makes members fit to train together. */
export type Identity = Readonly<z.infer<typeof identitySchema>>;
/** Where a member's run is kept. */
export type Keeps = z.infer<typeof keepsSchema>;
/** An epoch and who is in it. */
export type Membership = z.infer<typeof membershipSchema>;
/** A setting's name and value, for people. */
export type Setting = z.infer<typeof settingSchema>;
/** A reduced gradient that waits for the coordinator's word. */
export type Held = Readonly<z.infer<typeof heldSchema>>;
/** From a member to the coordinator. */
export type MemberMessage = z.infer<typeof memberMessageSchema>;
/** From the coordinator to a member. */
export type CoordinatorMessage = z.infer<typeof coordinatorMessageSchema>;
/** One kind of message. */
export type MessageOf<M extends { type: string }, T extends M["type"]> = Extract<M, { type: T }>;
/** Who is in, what they do and whom they wait for. */
export type GroupStatus = z.infer<typeof statusSchema>;

/** Parses a frame from a member. @throws UserError if it is not a message: what is wrong with it */
export function parseMemberMessage(text: string): MemberMessage {
  return parse(memberMessageSchema, text);
}

/** Parses a frame from the coordinator. @throws UserError if it is not a message: what is wrong with it */
export function parseCoordinatorMessage(text: string): CoordinatorMessage {
  return parse(coordinatorMessageSchema, text);
}

/** A text as a message may carry it: one line, cut to what is allowed. */
export function toReason(text: string): string {
  const line = text.replace(/\p{Cc}+/gu, " ").trim();
  return line === "" ? "no reason given" : line.slice(0, MAX_REASON).toWellFormed();
}

/** Settings as a message may carry them. */
export function toSettings(settings: readonly (readonly [name: string, value: string])[]): Setting[] {
  return settings.slice(0, MAX_SETTINGS).map(([name, value]) => [cut(name), cut(value)]);
}

function cut(text: string): string {
  const line = text.replace(/\p{Cc}+/gu, " ");
  return line.length <= MAX_SETTING_CHARS ? line : `${line.slice(0, MAX_SETTING_CHARS - 1).toWellFormed()}…`;
}

/** A member of another version, whose messages are others. */
export class ProtocolError extends UserError {}

function parse<T>(schema: z.ZodType<T>, text: string): T {
  const bytes = byteLengthUpTo(text, MAX_MESSAGE_BYTES);
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new UserError(`A control message has more than ${MAX_MESSAGE_BYTES} bytes, expected at most that`);
  }
  const json = parseJson(text);
  requireProtocol(json);
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  const where = path.length === 0 ? "" : ` at ${path.map(String).join(".")}`;
  throw new UserError(`A control message is not as expected${where}: ${toReason(message)}`);
}

/** The version of the protocol is told before anything else of a hello: another one may have other keys. */
function requireProtocol(json: unknown): void {
  if (typeof json !== "object" || json === null || !("type" in json) || json.type !== "hello") return;
  const theirs = "protocol" in json && typeof json.protocol === "number" ? json.protocol : PROTOCOL;
  if (theirs === PROTOCOL) return;
  const version = name.safeParse("version" in json ? json.version : null).data ?? "unknown";
  throw new ProtocolError(
    `It has version ${version} and speaks protocol ${theirs}, this coordinator has version ${library.version} and ` +
      `speaks protocol ${PROTOCOL}; use the same version on all nodes`,
  );
}

/** The length in UTF-8; more than the limit as soon as that is certain. */
function byteLengthUpTo(text: string, limit: number): number {
  return text.length > limit ? text.length : new TextEncoder().encode(text).length;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UserError("A control message is not JSON, expected one object a text frame");
  }
}
