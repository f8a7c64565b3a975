/** What the tests of src/net share: a gate on loopback, and channels through it. */
import { type Claim, importToken } from "../../src/net/link/auth.ts";
import type { Channel } from "../../src/net/link/channel.ts";
import { connect, type OpenSocket } from "../../src/net/link/connect.ts";
import { Gate, type GateEvent, type GateOptions } from "../../src/net/link/gate.ts";
import { listen, type ListenOptions } from "../../src/net/link/listenServer.ts";

export const TOKEN = "a token of these tests";
export const token = await importToken(TOKEN);
export const claim: Claim = { run: "run 1", role: "member", id: "node 1", to: "node 0", epoch: 3 };

export interface Opened extends AsyncDisposable {
  /** With the path of its only door. */
  readonly url: string;
  readonly gate: Gate;
  readonly log: GateEvent[];
  /** The server's ends of those who were let in, in order. */
  entered(): Promise<Channel>;
}

type Options = Partial<GateOptions> & ListenOptions & { readonly refuse?: (claim: Claim) => string | null };

/** A server with the door /data for members of run 1. */
export function openGate(
  { hostname, port, tls, requestMs, maxWaiting, refuse, ...options }: Options = {},
): Opened {
  const log: GateEvent[] = [];
  const arrived: Channel[] = [];
  const waiting: ((channel: Channel) => void)[] = [];
  const gate = new Gate({
    doors: {
      "/data": {
        token,
        run: claim.run,
        roles: ["member"],
        id: claim.to,
        refuse,
        enter: (channel) => waiting.length > 0 ? waiting.shift()?.(channel) : arrived.push(channel),
      },
    },
    log: (event) => log.push(event),
    ...options,
  });
  const listener = listen(gate, { hostname, port, tls, requestMs, maxWaiting });
  return {
    url: `${listener.url}/data`,
    gate,
    log,
    entered: () => {
      const channel = arrived.shift();
      return channel ? Promise.resolve(channel) : new Promise((resolve) => waiting.push(resolve));
    },
    [Symbol.asyncDispose]: () => listener.close(),
  };
}

export interface Pair extends AsyncDisposable {
  readonly client: Channel;
  readonly server: Channel;
}

/** Both ends of one channel. */
export async function openPair(tls?: ListenOptions["tls"], open?: OpenSocket): Promise<Pair> {
  const opened = openGate({ tls });
  const [client, server] = await Promise.all([
    connect({ url: opened.url, token, claim, open }),
    opened.entered(),
  ]);
  return { client, server, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}

/** Numbers below `bound`, the same for the same seed (a 32-bit linear congruence, upper bits). */
export function randomNumbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * bound);
  };
}

export function randomBytes(length: number, random: (bound: number) => number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => random(256));
}
