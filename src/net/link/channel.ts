/** A WebSocket of either side: messages in order, bounded memory, one reason why it ended. */

export type Message = string | ArrayBuffer;

/**
 * Why a channel ends:
 *
 * - `left`: on purpose.
 * - `fault`: the other side broke the protocol.
 * - `refused`: the other side is not admitted.
 * - `silent`: nothing was heard of the other side for too long.
 * - `overflow`: more waits to be sent or read than there may.
 *
 * Their places are the WebSocket's close codes, from 4400 on.
 */
const CLOSE_KINDS = ["left", "fault", "refused", "silent", "overflow"] as const;
const FIRST_CODE = 4400;

/** `lost`: ended without any of these words; the process or the connection is gone. */
export type CloseKind = (typeof CLOSE_KINDS)[number] | "lost";

export interface CloseReason {
  readonly kind: CloseKind;
  readonly by: "us" | "peer";
  /** One line of ASCII; where `by` is `peer`, in the peer's words. */
  readonly detail: string;
}

/** Something was to be sent or received over a channel that has closed. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
  constructor(readonly reason: CloseReason) {
    super(describeClose(reason));
  }
}

/** How the messages of a channel are taken. */
export interface Consumer {
  readonly onMessage: (message: Message) => void;
  /** Bytes, or characters of a text. */
  readonly maxMessage: number;
  /** Bytes that may wait to be sent. */
  readonly maxUnsent: number;
}

/** What one waiting message costs beside its bytes. */
const MESSAGE_OVERHEAD = 64;
/**
 * What a server answers to a message that gets no other answer; the client drops it. Deno's client sockets use Nagle's
 * algorithm: they hold a small message back until the one before it is acknowledged, and unless something goes the other
 * way, kernels take 40 ms over that.
 */
const NUDGE = "";
const MAX_HANDSHAKE_UNSENT = 1 << 16;
/** Ticks a heartbeat, and how many in a row may pass in silence: five halves, so that the third beat is the limit. */
const TICKS_PER_BEAT = 2;
const SILENT_TICKS = 5;

export class Channel {
  /** Resolves once, when either side has ended it. */
  readonly closed: Promise<CloseReason>;

  readonly #socket: WebSocket;
  readonly #side: "client" | "server";
  readonly #opened = Promise.withResolvers<void>();
  /** Settles `closed`; only the first reason counts. */
  readonly #end: (reason: CloseReason) => void;
  #reason: CloseReason | null = null;
  #error = "";
  #heard = false;
  #numSent = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Messages that nobody has taken yet, and how much they and all that may wait with them hold. */
  #unread: Message[] = [];
  #unreadBytes = 0;
  #maxUnread: number;
  #receiver: PromiseWithResolvers<Message> | null = null;
  #consumer: Consumer | null = null;

  /**
   * Takes over `socket`, which may still be opening, as the side that opened it or the one that it was opened to.
   * At most `maxUnread` bytes wait until somebody takes them.
   */
  constructor(socket: WebSocket, side: "client" | "server", maxUnread: number) {
    this.#socket = socket;
    this.#side = side;
    this.#maxUnread = maxUnread;
    const closed = Promise.withResolvers<CloseReason>();
    this.closed = closed.promise;
    this.closed.then((reason) => {
      clearInterval(this.#timer);
      this.#unread = [];
      this.#consumer = null; // the WebSocket can live on for a while, and what takes its messages holds buffers
      this.#opened.reject(new ClosedError(reason));
      this.#receiver?.reject(new ClosedError(reason));
    });
    this.#opened.promise.catch(() => {}); // `opened` need not be asked for
    this.#end = (reason) => {
      this.#reason ??= reason;
      closed.resolve(this.#reason);
    };

    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened.resolve();
    socket.onmessage = ({ data }: MessageEvent<Message>) => this.#take(data);
    socket.onerror = (event) =>
      this.#error = event instanceof ErrorEvent ? event.message : "connection failed";
    socket.onclose = (event) => this.#end(peerReason(event, this.#error));
    if (socket.readyState === WebSocket.OPEN) this.#opened.resolve();
    if (socket.readyState >= WebSocket.CLOSING) this.#end(lost("closed before it was taken over"));
  }

  /** Resolves when messages can be sent; rejects with a ClosedError when that will never be. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  get isClosed(): boolean {
    return this.#reason !== null;
  }

  /** Sends a message, or drops it where the channel has closed. What is sent may be overwritten at once. */
  send(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.isClosed) return;
    const { bufferedAmount } = this.#socket;
    if (bufferedAmount > (this.#consumer?.maxUnsent ?? MAX_HANDSHAKE_UNSENT)) {
      this.close("overflow", `${bufferedAmount} bytes wait to be sent`);
    } else {
      this.#numSent++;
      this.#socket.send(message);
    }
  }

  /** From now on `bytes` may wait until somebody takes them. */
  allow(bytes: number): void {
    this.#maxUnread = bytes;
  }

  /** The next message, for one caller at a time. Rejects with a ClosedError. */
  receive(): Promise<Message> {
    const message = this.#unread.shift();
    if (message !== undefined) {
      this.#unreadBytes -= sizeOf(message) + MESSAGE_OVERHEAD;
      return Promise.resolve(message);
    }
    if (this.#reason !== null) return Promise.reject(new ClosedError(this.#reason));
    if (this.#receiver !== null) throw new Error("A channel has one receiver at a time");
    this.#receiver = Promise.withResolvers();
    return this.#receiver.promise;
  }

  /** Hands every message to `consumer` from now on, those that wait first. */
  consume(consumer: Consumer): void {
    if (this.#consumer !== null) throw new Error("A channel has one consumer");
    this.#consumer = consumer;
    const unread = this.#unread;
    this.#unread = [];
    for (const message of unread) this.#take(message);
  }

  /**
   * Calls `beat` every `heartbeatMs` and closes as `silent` before the third beat in a row without a message.
   * Counts beats and doesn't read a clock: a process that was itself stopped must not blame its peers.
   */
  keepAlive(heartbeatMs: number, beat: () => void): void {
    if (this.isClosed) return;
    clearInterval(this.#timer);
    let ticks = 0;
    let silent = 0;
    this.#timer = setInterval(() => {
      silent = this.#heard ? 0 : silent + 1;
      this.#heard = false;
      if (silent === SILENT_TICKS) {
        this.close("silent", `nothing heard for ${SILENT_TICKS / TICKS_PER_BEAT * heartbeatMs / 1000} s`);
      } else if (++ticks % TICKS_PER_BEAT === 0) beat();
    }, heartbeatMs / TICKS_PER_BEAT);
  }

  /**
   * Ends the channel at once for us. The other side is told `kind` and `detail`, or where its own messages are still on
   * their way, may find it `lost`: Deno's server cuts such a connection. Later calls do nothing.
   */
  close(kind: Exclude<CloseKind, "lost"> = "left", detail = ""): void {
    if (this.isClosed) return;
    const line = asciiLine(detail);
    this.#end({ kind, by: "us", detail: line });
    this.#socket.close(FIRST_CODE + CLOSE_KINDS.indexOf(kind), line);
  }

  #take(message: Message): void {
    if (this.isClosed) return;
    this.#heard = true;
    if (message === NUDGE && this.#side === "client") return;
    const size = sizeOf(message);
    if (this.#consumer !== null) {
      if (size > this.#consumer.maxMessage) this.close("fault", `message of ${size} bytes`);
      else this.#hand(message, this.#consumer);
    } else if (this.#unreadBytes + size + MESSAGE_OVERHEAD > this.#maxUnread) {
      this.close("overflow", "more messages than may wait");
    } else if (this.#receiver !== null) {
      this.#receiver.resolve(message);
      this.#receiver = null;
    } else {
      this.#unread.push(message);
      this.#unreadBytes += size + MESSAGE_OVERHEAD;
    }
  }

  #hand(message: Message, consumer: Consumer): void {
    const numSent = this.#numSent;
    consumer.onMessage(message);
    if (this.#side === "server" && this.#numSent === numSent) this.send(NUDGE);
  }
}

/** `peer left`, `peer closed as fault: wrong checksum`, ... for logs. */
export function describeClose({ kind, by, detail }: CloseReason): string {
  const how = kind === "left" ? "left" : kind === "lost" ? "was lost" : `closed as ${kind}`;
  const who = kind === "lost" || by === "peer" ? "peer" : "we";
  return `${who} ${how}${detail === "" ? "" : `: ${detail}`}`;
}

/** Why the one at the other end counts as lost, as what is said of it. */
export function describeLoss(reason: CloseReason): string {
  const { kind, by, detail } = reason;
  if (kind === "lost" || (kind === "left" && by === "peer")) return "its connection has ended";
  return kind === "silent" && by === "us" && detail !== "" ? detail : describeClose(reason);
}

/** What others wrote, made fit for a log line and for the reason of a WebSocket's close (123 bytes). */
export function asciiLine(text: string): string {
  return text.slice(0, 120).replace(/[^ -~]/g, "?");
}

function sizeOf(message: Message): number {
  return typeof message === "string" ? message.length : message.byteLength;
}

function lost(detail: string): CloseReason {
  return { kind: "lost", by: "peer", detail: asciiLine(detail) };
}

function peerReason({ code, reason }: CloseEvent, error: string): CloseReason {
  const kind = CLOSE_KINDS[code - FIRST_CODE];
  return kind === undefined ? lost(error || reason) : { kind, by: "peer", detail: asciiLine(reason) };
}
