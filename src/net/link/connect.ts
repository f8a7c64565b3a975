/** The client's side: one attempt to get a channel to a server, and attempts until there is one. */
import { RetryError, UserError } from "../../errors.ts";
import { type Claim, CONTROL_RUN, joinServer, newTicket } from "./auth.ts";
import { Channel, ClosedError } from "./channel.ts";
import { DEFAULT_WINDOW_BYTES } from "./link.ts";

/** Opens a WebSocket: where more is needed than a URL (a private CA), the caller brings one of these. */
export type OpenSocket = (url: string, protocol: string) => WebSocket;

export interface Dial {
  /** With the path of the door: `ws://host:7777/control`. */
  readonly url: string;
  /** What messages call it: the address that the user gave. Default: `url`. */
  readonly name?: string;
  readonly token: CryptoKey;
  readonly claim: Claim;
  /** For opening and proving, each attempt; default 5000. */
  readonly timeoutMs?: number;
  readonly open?: OpenSocket;
  /** Gives it up, also in the middle of an attempt. */
  readonly signal?: AbortSignal;
}

export interface Backoff {
  readonly signal: AbortSignal;
  /** The first wait, doubled for each next one; default 100. */
  readonly firstMs?: number;
  /** The longest wait; default 5000. */
  readonly mostMs?: number;
  /** Who was meant has been there before: whatever else answers may go away again, and is no reason to give up. */
  readonly isKnown?: boolean;
  /** Told why an attempt failed, before the next one. */
  readonly onFailure?: (error: RetryError | UserError) => void;
}

/**
 * Opens a WebSocket and proves both sides to each other.
 * @throws RetryError where nobody answers (in time), or too many attempts from here have failed; UserError where trying
 * again is of no use: the address is none, the server's certificate is not trusted, it refused the claim, or it could
 * not prove that it has the token; the signal's reason where that is aborted.
 */
export async function connect(dial: Dial): Promise<Channel> {
  const { url, name = url, token, claim, timeoutMs = 5000, signal } = dial;
  const { open = (url, protocol) => new WebSocket(url, protocol) } = dial;
  const ticket = await newTicket(token, claim);
  signal?.throwIfAborted();
  const channel = new Channel(openSocket(open, dial, ticket), "client", DEFAULT_WINDOW_BYTES);
  const timer = setTimeout(() => channel.close("silent", `no answer in ${timeoutMs} ms`), timeoutMs);
  const giveUp = () => channel.close("left");
  signal?.addEventListener("abort", giveUp);
  try {
    await channel.opened;
    if (await joinServer(channel, token, claim)) return channel;
    channel.close("refused");
    throw new UserError(
      `${name} answered, but could not prove that it has this run's token; check the address`,
    );
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof ClosedError)) throw error;
    const { kind, by, detail } = error.reason;
    if (/\bstatus code: 401\b/.test(detail)) {
      throw new UserError(refusedTicket(name, claim));
    }
    if (/\bstatus code: 429\b/.test(detail)) {
      throw new RetryError(
        `${name} turns this address away unheard: too many attempts from here have failed, check the token; ` +
          `it hears one a second`,
      );
    }
    if (kind === "refused" && by === "peer") throw refused(name, claim);
    if (/\bcertificate\b/.test(detail)) {
      throw new UserError(
        `${name} has a certificate that is not trusted (${detail}); name the CA that signed it`,
      );
    }
    throw new RetryError(`${name} cannot be reached: ${whyUnreachable(detail) ?? error.message}`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

/**
 * Connects, again and again while there is a RetryError, with waits that double and vary by half (so that a whole
 * group does not come back at one moment).
 * @throws UserError as {@linkcode connect} does, unless it `isKnown`; the signal's reason where that is aborted.
 */
export async function reconnect(dial: Omit<Dial, "signal">, backoff: Backoff): Promise<Channel> {
  const { signal, onFailure, isKnown = false } = backoff;
  for (let failures = 0;; failures++) {
    signal.throwIfAborted();
    try {
      return await connect({ ...dial, signal });
    } catch (error) {
      if (signal.aborted || !(error instanceof RetryError || (isKnown && error instanceof UserError))) {
        throw error;
      }
      onFailure?.(error);
    }
    await pauseAfter(failures, backoff);
  }
}

/** Waits as {@linkcode reconnect} does before the next attempt. @param failures before this one, without a success since */
export async function pauseAfter(
  failures: number,
  { signal, firstMs = 100, mostMs = 5000 }: Backoff,
): Promise<void> {
  await pause(Math.min(firstMs * 2 ** failures, mostMs) * (0.5 + Math.random() / 2), signal);
}

/** @param name what the error calls it @throws UserError if it is no address of a server */
export function requireServerUrl(url: string, name = url): void {
  const parsed = URL.parse(url);
  if (parsed === null || !/^wss?:$/.test(parsed.protocol) || parsed.hash !== "") {
    throw new UserError(`${name} is no address of a server, expected ws://host:port or wss://host:port`);
  }
}

function openSocket(open: OpenSocket, { url, name }: Dial, protocol: string): WebSocket {
  requireServerUrl(url, name);
  return open(url, protocol);
}

/** null: nobody has said. */
function whyUnreachable(detail: string): string | null {
  if (/\bdns error\b/.test(detail)) return "the name does not resolve to an address; check it";
  if (/\btcp connect error\b/.test(detail)) return "nothing listens there, or nothing is let through";
  return detail === "" ? null : detail.replace("NetworkError: failed to connect to WebSocket: ", "");
}

function refusedTicket(name: string, { run, to }: Claim): string {
  return run === CONTROL_RUN
    ? `${name} refused the token, expected the one that its group has on all nodes`
    : `${name} refused the token, expected the one that its group has on all nodes; or it is not ${to} of run ${run}`;
}

function refused(name: string, { run, role, id }: Claim): UserError {
  const ofRun = run === CONTROL_RUN ? "" : ` of run ${run}`; // which no coordinator is asked for
  return new UserError(
    `${name} refused ${id} as ${role}${ofRun}; the token, the run or the role differ, and the log over there says which`,
  );
}

/** Waits, or until `signal` is aborted; the caller looks at the signal next. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
