/** A bad network on loopback: what is sent to a port is passed on to another one, late, slowly, or up to some byte. */

/** How a link is, while it lasts. */
export interface Weather {
  /** Before each piece is passed on. */
  readonly delayMs: number;
  /** In each direction of each connection. */
  readonly bytesPerSecond: number;
}

export const FAIR: Weather = { delayMs: 0, bytesPerSecond: Infinity };

const PIECE_BYTES = 1 << 16;
/** A throttled link passes on so many pieces a second at least, so that its rate is even. */
const PIECES_A_SECOND = 20;

/** What happens once so many more bytes have passed, in either direction of any connection. */
interface Fuse {
  bytes: number;
  readonly burn: () => void;
}

export class Proxy implements Disposable {
  /** On 127.0.0.1. */
  readonly port: number;
  /** The port that connections are passed on to from now on; null: they end at once. */
  target: number | null = null;
  weather: Weather = FAIR;
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.TcpConn>();
  #fuse: Fuse | null = null;
  /** Resolves when bytes may pass. */
  #stalled: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor() {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    this.#accept();
  }

  /** Ends all connections once so many more bytes have passed. */
  cutAfter(bytes: number): Promise<void> {
    return this.#after(bytes, () => this.cut());
  }

  /** Resolves at the byte, which has been passed on, and nothing behind it: whoever waits comes first. */
  reach(bytes: number): Promise<void> {
    return this.#after(bytes, () => {});
  }

  /** Takes back what was to happen at a byte. */
  disarm(): void {
    this.#fuse = null;
  }

  /** Passes nothing on for a while, and ends no connection: the silence of a broken cable. */
  stall(ms: number): void {
    this.#stalled = sleep(ms);
  }

  cut(): void {
    for (const connection of this.#connections) close(connection);
    this.#connections.clear();
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#listener.close();
    this.cut();
  }

  #after(bytes: number, action: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const burn = () => {
      action();
      resolve();
    };
    this.#fuse = { bytes, burn };
    return promise;
  }

  async #accept(): Promise<void> {
    while (!this.#isClosed) {
      const client = await this.#listener.accept().catch(() => null);
      if (client !== null) this.#connect(client);
    }
  }

  async #connect(client: Deno.TcpConn): Promise<void> {
    const { target } = this;
    const server = target === null
      ? null
      : await Deno.connect({ hostname: "127.0.0.1", port: target }).catch(() => null);
    if (server === null || this.#isClosed) return close(client);
    client.setNoDelay();
    server.setNoDelay();
    this.#connections.add(client).add(server);
    await Promise.all([this.#pump(client, server), this.#pump(server, client)]);
    for (const connection of [client, server]) {
      close(connection);
      this.#connections.delete(connection);
    }
  }

  /** Passes on what one side sends until it ends; an end is passed on as well. */
  async #pump(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(PIECE_BYTES);
    try {
      for (;;) {
        const { bytesPerSecond } = this.weather;
        const most = Math.min(PIECE_BYTES, Math.max(1, Math.floor(bytesPerSecond / PIECES_A_SECOND)));
        const count = await from.read(buffer.subarray(0, most));
        if (count === null) return await to.closeWrite();
        const ms = this.weather.delayMs + 1000 * count / bytesPerSecond;
        if (ms >= 1) await sleep(ms);
        await this.#stalled;
        await this.#pass(buffer.subarray(0, count), to);
      }
    } catch {
      close(from); // whichever side is gone, the other one learns of it
      close(to);
    }
  }

  async #pass(piece: Uint8Array, to: Deno.TcpConn): Promise<void> {
    const fuse = this.#fuse;
    if (fuse === null || fuse.bytes > piece.length) {
      if (fuse !== null) fuse.bytes -= piece.length;
      return await writeAll(to, piece);
    }
    this.#fuse = null;
    await writeAll(to, piece.subarray(0, fuse.bytes));
    fuse.burn();
    await sleep(0); // what waits for the byte is done first
    await writeAll(to, piece.subarray(fuse.bytes));
  }
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await to.write(bytes.subarray(done));
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // it is closed
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
