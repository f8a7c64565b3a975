/** A process's part in a group, whatever it computes there. */
import library from "../../deno.json" with { type: "json" };
import { RetryError, UserError } from "../errors.ts";
import { type Identity, introductionSchema, type Keeps } from "../net/control/messages.ts";
import { type OpenSocket, requireServerUrl } from "../net/link/connect.ts";
import type { ListenOptions } from "../net/link/listenServer.ts";
import type { OwnServer } from "../net/link/ownServer.ts";
import type { MemberAction } from "../net/member/types.ts";
import { joinGroup, type Node } from "../net/node.ts";
import type { Replica } from "../net/replica.ts";
import type { WireTypes } from "../net/sum/wireTypes.ts";

/** A group of nodes that compute together, and how this one takes part. */
export interface JoinOptions {
  /** Of its coordinator, such as `ws://host:7777`. */
  readonly url: string;
  /** The group's secret, from `importToken`. */
  readonly token: CryptoKey;
  /**
   * What the group calls this node: letters, digits, dots, dashes and underscores. By default a name that lasts with the run's folder,
   * and a random one where there is none.
   */
  readonly memberId?: string;
  /** Where other nodes reach this one; by default any free port of 127.0.0.1. */
  readonly listen?:
    | ListenOptions & {
      /** What the others are told, if it is not where this node listens. */
      readonly url?: string;
    }
    | OwnServer;
  /** Opens WebSockets where more is needed than a URL: a private CA, see `openWithCa`. */
  readonly openSocket?: OpenSocket;
  /** Says nothing of who comes and goes: for where the coordinator's lines are read beside this node's. Default: false. */
  readonly quiet?: boolean;
}

/** What a member does in its group. */
export interface Part {
  readonly replica: Replica;
  readonly identity: Omit<Identity, "version">;
  /** What the identity's `configDigest` is of, for people. */
  readonly config: readonly (readonly [name: string, value: string])[];
  /** How sums travel, the same on all members; default: as they are. */
  readonly wire?: WireTypes;
  /** So many values at the end of a sum are never rounded: counts. */
  readonly exactValues?: number;
  /** Tokens of a step, for what `status` shows. */
  readonly tokensOf: (step: number) => number;
  /** Leaves the group at the end of the step, or after 5 s in the middle of it. */
  readonly signal?: AbortSignal;
  /** One-line news for the user. */
  readonly onMessage?: (text: string) => void;
  /** Told of what this member does, before it is done. */
  readonly onAction?: (action: MemberAction) => void;
  /** Where the run is kept; default: nowhere. */
  readonly keeps?: Keeps;
  /** The group refuses this node: the last moment to keep what it has. */
  readonly onRefused?: () => Promise<void>;
}

/** A name for a member. */
export function randomId(): string {
  return `node-${crypto.randomUUID().slice(0, 8)}`;
}

/** A node that is asked to leave gives up a step that takes longer; with what follows it is gone after 5 s. */
const LEAVE_MS = 4500;

/** What a member says of itself: the option that it comes from, and what that may be. */
const OPTIONS: Readonly<Record<string, readonly [option: string, expected: string]>> = {
  run: ["name", "1 to 128 characters on one line"],
  virtualWorkers: ["virtualWorkers", "a whole number from 1 to 65536"],
  memberId: [
    "memberId",
    "1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit",
  ],
  url: ["listen.url", "ws://host:port or wss://host:port, at most 256 characters"],
  appliedStep: ["start.step", "a whole number from 0"],
  digest: ["start.digest", "that of a sum"],
};

/**
 * Does steps with a group until there are none left, or the signal.
 *
 * @returns resolves when everything is closed. Rejects with a UserError if the group refuses this node: why; with a
 * RetryError if a process started anew may join; with what the replica throws
 * @throws UserError, at once, for a mistake in the options, or a port that can't be listened on
 */
export function takePart(
  join: JoinOptions,
  part: Part,
): { readonly over: Promise<void>; readonly node: Node } {
  const { url, token, memberId = randomId(), listen, openSocket, quiet = false } = join;
  const { replica, config, wire, exactValues, tokensOf, onMessage = () => {}, onAction, keeps } = part;
  const identity = { ...part.identity, version: library.version };
  requireServerUrl(url);
  const { step: appliedStep, digest } = replica.applied;
  requireFit({ ...identity, memberId, url: listen?.url, appliedStep, digest });
  const giveUp = new AbortController();
  const node = joinGroup({
    coordinator: url,
    identity,
    signal: giveUp.signal,
    log: (level, text) => {
      if (level !== "news" || !quiet) onMessage(level === "warn" ? `warning: ${text}` : text);
    },
    ...{ token, config, memberId, listen, openSocket, replica, keeps, wire, exactValues, tokensOf, onAction },
  });
  return { node, over: untilOver(node, url, giveUp, part) };
}

/** What a coordinator doesn't understand it doesn't take, however often it is said. */
function requireFit(introduction: Readonly<Record<string, unknown>>): void {
  const parsed = introductionSchema.partial({ url: true }).safeParse(introduction);
  if (parsed.success) return;
  const key = String(parsed.error.issues[0].path[0]);
  const [option, expected] = OPTIONS[key];
  const value = introduction[key];
  const found = typeof value === "string" ? JSON.stringify(value) : value;
  throw new UserError(`${option} is ${found}, expected ${expected}`);
}

async function untilOver(
  node: Node,
  url: string,
  giveUp: AbortController,
  { signal, onRefused }: Part,
): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leave = () => {
    node.leave(false);
    timer = setTimeout(() => giveUp.abort(), LEAVE_MS);
  };
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    const { refusal } = await node.done;
    if (refusal === null) return;
    await onRefused?.();
    const { reason, retry } = refusal;
    throw new (retry ? RetryError : UserError)(`The group at ${url} does not take this node: ${reason}`);
  } catch (error) {
    if (error !== giveUp.signal.reason) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", leave);
  }
}
