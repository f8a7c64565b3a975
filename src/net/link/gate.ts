/** Who gets in: every WebSocket that others open to us passes here, whoever serves it. */
import {
  admitClient,
  type Claim,
  CONTROL_RUN,
  type Expected,
  isTicket,
  MAX_HANDSHAKE_CHARS,
} from "./auth.ts";
import { asciiLine, Channel, ClosedError, describeLoss } from "./channel.ts";
import { DEFAULT_WINDOW_BYTES } from "./link.ts";
import { TokenBucket } from "./tokenBucket.ts";

/** What lies behind a path of the server. */
export interface Door extends Expected {
  /** Takes over whoever has got in: make a Link or a ControlLink of it before this returns. */
  readonly enter: (channel: Channel, claim: Claim) => void;
}

export interface GateOptions {
  /** By the path of their URL. */
  readonly doors: Readonly<Record<string, Door>>;
  /** Pages whose scripts may connect; none unless told. Programs send no Origin. */
  readonly origins?: readonly string[];
  /** Default 5000. */
  readonly handshakeMs?: number;
  /** WebSockets that one address may have open, in and waiting; default 256. */
  readonly maxPerAddress?: number;
  /** WebSockets that may wait for their handshake, of all addresses; default 64. */
  readonly maxPending?: number;
  /** Told of everybody who was let in or turned away. */
  readonly log?: (event: GateEvent) => void;
}

export interface GateEvent {
  readonly address: string;
  readonly path: string;
  /** Who it says it is; null: it has said nothing. Proved only where `refusal` is null. */
  readonly claim: Claim | null;
  /** Why it was turned away; null: it was let in. */
  readonly refusal: string | null;
}

/** What of a request decides whether it may become a WebSocket. */
export interface Knock {
  readonly address: string;
  readonly path: string;
  readonly origin: string | null;
  /** The subprotocol that it asks for. */
  readonly ticket: string | null;
}

/** Failures that an address may have at once, and a second in the long run; several nodes may share an address. */
const FAILURE_BURST = 10;
const FAILURES_PER_SECOND = 1;
const MAX_REMEMBERED_ADDRESSES = 1024;
/** Addresses that have proved themselves last. Only who has the token gets in here, so no stranger drives them out. */
const MAX_PROVEN_ADDRESSES = 1024;
/** Tickets that were shown last: a recorded one is of no use soon after. Later the handshake refuses who shows it. */
const MAX_REMEMBERED_TICKETS = 4096;

/** What an address has done wrong. */
interface Failures {
  readonly bucket: TokenBucket;
  /** Since the log was told last. */
  unheard: number;
}

export class Gate {
  readonly #options: GateOptions;
  readonly #channels = new Set<Channel>();
  readonly #numOpen = new Map<string, number>();
  readonly #failures = new Map<string, Failures>();
  readonly #proven = new Set<string>();
  readonly #tickets = new Set<string>();
  #numPending = 0;
  #isClosed = false;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /**
   * Before an upgrade: the HTTP status with which to turn a request away; null: upgrade it, with its ticket as the
   * subprotocol, and {@linkcode take} the WebSocket.
   */
  async check({ address, path, origin, ticket }: Knock): Promise<number | null> {
    const { doors, origins = [], maxPerAddress = 256, maxPending = 64 } = this.#options;
    const refuse = (status: number, refusal: string) =>
      this.#turnAway({ address, path, claim: null, refusal }) ? status : 429;
    if (this.#isMuted(address)) return refuse(429, "too many failures");
    if (!Object.hasOwn(doors, path)) return refuse(404, "unknown path");
    if (origin !== null && !origins.includes(origin)) return refuse(403, `origin ${origin}`);
    const { token, run, id } = doors[path];
    if (ticket === null || !await isTicket(token, { run, to: id }, ticket)) {
      const isOnlyOne = run === CONTROL_RUN; // whose tickets differ by the token alone
      return refuse(401, isOnlyOne ? "wrong token" : "wrong token, or a ticket for another node or run");
    }
    if (this.#tickets.has(ticket)) return refuse(401, "replayed ticket");
    const numOpen = this.#numOpen.get(address) ?? 0;
    const isFull = this.#isClosed || this.#numPending >= maxPending || numOpen >= maxPerAddress;
    if (isFull) return refuse(503, "too many connections");
    remember(this.#tickets, ticket, MAX_REMEMBERED_TICKETS);
    return null;
  }

  /**
   * Takes over a WebSocket that was just upgraded, and lets it in at `path` once it has proved who it is. Resolves when
   * that is decided.
   */
  async take(socket: WebSocket, path: string, address: string): Promise<void> {
    const { doors, handshakeMs = 5000, log } = this.#options;
    const channel = new Channel(socket, "server", MAX_HANDSHAKE_CHARS);
    if (this.#isClosed) return channel.close();
    this.#count(channel, address);
    this.#numPending++;
    const timer = setTimeout(() => channel.close("silent", "no handshake in time"), handshakeMs);
    const event = { address, path };
    try {
      await channel.opened;
      const { claim, refusal } = await admitClient(channel, doors[path]);
      if (refusal !== null) {
        this.#turnAway({ ...event, claim, refusal });
        return channel.close("refused");
      }
      log?.({ ...event, claim, refusal });
      remember(this.#proven, address, MAX_PROVEN_ADDRESSES);
      channel.allow(DEFAULT_WINDOW_BYTES);
      doors[path].enter(channel, claim);
    } catch (error) {
      if (!(error instanceof ClosedError)) throw error;
      const { kind, by } = error.reason;
      // whoever had a ticket and left by itself: a member that has given its dial up, as the epoch is another one
      if (kind === "lost" || (kind === "left" && by === "peer")) return;
      this.#turnAway({ ...event, claim: null, refusal: describeLoss(error.reason) });
    } finally {
      clearTimeout(timer);
      this.#numPending--;
    }
  }

  /** {@linkcode check} and {@linkcode take} for a WebSocket that was upgraded already: its end tells who is turned away. */
  async accept(socket: WebSocket, knock: Knock): Promise<void> {
    const status = await this.check(knock);
    if (status === null) return await this.take(socket, knock.path, knock.address);
    const channel = new Channel(socket, "server", MAX_HANDSHAKE_CHARS);
    await channel.opened.catch(() => {}); // it has closed by itself
    channel.close("refused");
  }

  /** Ends every channel that came in here, and lets nobody in any more. */
  close(): void {
    this.#isClosed = true;
    for (const channel of this.#channels) channel.close();
  }

  #count(channel: Channel, address: string): void {
    this.#channels.add(channel);
    this.#numOpen.set(address, (this.#numOpen.get(address) ?? 0) + 1);
    channel.closed.then(() => {
      this.#channels.delete(channel);
      const left = (this.#numOpen.get(address) ?? 1) - 1;
      if (left > 0) this.#numOpen.set(address, left);
      else this.#numOpen.delete(address);
    });
  }

  /**
   * Whether an address is turned away before anything is computed for it. Members may share theirs with others, so one
   * from which somebody has come in is heard.
   */
  #isMuted(address: string): boolean {
    const failures = this.#failures.get(address);
    return failures !== undefined && failures.bucket.left < 1 && !this.#proven.has(address);
  }

  #failuresOf(address: string): Failures {
    const known = this.#failures.get(address);
    if (known !== undefined) return known;
    if (this.#failures.size >= MAX_REMEMBERED_ADDRESSES) {
      const [oldest] = this.#failures.keys();
      this.#failures.delete(oldest);
    }
    const failures = { bucket: new TokenBucket(FAILURE_BURST, FAILURES_PER_SECOND), unheard: 0 };
    this.#failures.set(address, failures);
    return failures;
  }

  /**
   * Counts a failure and logs it; beyond what the address may have of them says so and is quiet, and how many there
   * were when it speaks again.
   *
   * @returns whether it was logged
   */
  #turnAway(event: GateEvent & { readonly refusal: string }): boolean {
    const failures = this.#failuresOf(event.address);
    if (!failures.bucket.take()) {
      failures.unheard++;
      return false;
    }
    const before = failures.unheard > 0 ? `; ${failures.unheard} more were turned away unheard before` : "";
    const last = failures.bucket.left < 1 ? "; too many failures, further ones are turned away unheard" : "";
    failures.unheard = 0;
    this.#options.log?.({ ...event, refusal: asciiLine(event.refusal) + before + last });
    return true;
  }
}

/** Adds to a set of so many, of which the oldest makes room. */
function remember(set: Set<string>, value: string, most: number): void {
  set.delete(value);
  if (set.size >= most) {
    const [oldest] = set;
    set.delete(oldest);
  }
  set.add(value);
}

/** What a log says of somebody who was turned away; null: they were let in. */
export function describeRefusal({ address, claim, refusal }: GateEvent): string | null {
  if (refusal === null) return null;
  return `${claim === null ? "Somebody" : `"${claim.id}"`} at ${address} was turned away: ${refusal}`;
}
