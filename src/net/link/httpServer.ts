/**
 * HTTP for strangers: what they can hold is bounded before anything is known of them. They may have so many connections
 * in all, each for so long, and never the last file descriptors of this process. (Within TLS's handshake the last is all.)
 *
 * `Deno.serve` can do none of it: it keeps every silent connection, and ends at the first one for which no descriptor is
 * left. `Deno.serveHttp` leaves the connections to us, at the same speed. Deno 2 has it without its types; where a later
 * one has it no more, listening says so.
 */
import { UserError } from "../../errors.ts";

export interface HttpLimits {
  /**
   * For a whole request to come, and its answer to go; default 5000. With TLS it begins after the handshake, which Deno
   * can't end: who begins none keeps the connection.
   */
  readonly requestMs?: number;
  /** Connections that have yet to become a WebSocket. Default 256: a whole group may come back at once. */
  readonly maxWaiting?: number;
}

/** Of `Deno.listen` or `Deno.listenTls`. */
export type HttpListener = Deno.TcpListener | Deno.TlsListener;

/** Answers a request; a response that upgrades it ends what is counted here. */
export type Handler = (request: Request, remote: Deno.Addr) => Promise<Response>;

/** The parts of a removed type of Deno's that are used here. */
interface HttpConnection {
  nextRequest(): Promise<
    { readonly request: Request; respondWith(response: Response): Promise<void> } | null
  >;
  close(): void;
}

type ServeHttp = (connection: Deno.Conn) => HttpConnection;

interface Waiting {
  readonly address: string;
  readonly http: HttpConnection;
}

/** Descriptors that strangers leave free: for checkpoints, and for the connections that this process opens itself. */
const SPARE_DESCRIPTORS = 32;
/** How long nobody is let in when they run out. */
const PAUSE_MS = 1000;
/** A connection that has ended, or speaks no HTTP, is no fault of ours. */
const ignore = () => null;

export class HttpServer {
  readonly #listener: HttpListener;
  readonly #handler: Handler;
  readonly #warn: (text: string) => void;
  readonly #requestMs: number;
  readonly #maxWaiting: number;
  readonly #serveHttp: ServeHttp;
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>();
  /** In the middle of TLS's handshake. */
  readonly #shaking = new Set<Deno.TlsConn>();
  readonly #accepting: Promise<void>;
  #isClosed = false;

  /** @throws UserError where this Deno can't */
  constructor(
    listener: HttpListener,
    handler: Handler,
    warn: (text: string) => void,
    { requestMs = 5000, maxWaiting = 256 }: HttpLimits,
  ) {
    this.#listener = listener;
    this.#handler = handler;
    this.#warn = warn;
    this.#requestMs = requestMs;
    this.#maxWaiting = maxWaiting;
    this.#serveHttp = serveHttpOf(Deno as { readonly serveHttp?: ServeHttp });
    this.#accepting = this.#accept();
  }

  /** Frees the port, and ends what waits. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listener.close();
    this.#endWaiting();
    for (const connection of this.#shaking) connection.close();
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    while (!this.#isClosed) {
      if (!hasSpareDescriptors()) await this.#pause();
      else {
        try {
          this.#serve(await this.#listener.accept());
        } catch (error) {
          if (!this.#isClosed && isShortage(error)) await this.#pause();
          // else whoever came has gone before it was let in
        }
      }
    }
  }

  async #pause(): Promise<void> {
    this.#endWaiting();
    this.#warn(
      "Too few file descriptors are left for new connections; those there are go on. " +
        "Raise the limit (ulimit -Hn) or keep strangers away (a firewall)",
    );
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }

  async #serve(connection: Deno.TcpConn | Deno.TlsConn): Promise<void> {
    if ("setNoDelay" in connection) connection.setNoDelay(); // 40 ms for a small message after another one
    else if (!await this.#shakeHands(connection)) return;
    if (this.#waiting.size >= this.#maxWaiting) this.#makeRoom();
    const remote = connection.remoteAddr;
    const http = this.#serveHttp(connection);
    const waiting = { address: addressOf(remote), http };
    this.#waiting.add(waiting);
    const timer = setTimeout(() => http.close(), this.#requestMs);
    try {
      const event = await http.nextRequest().catch(ignore);
      if (event === null) return;
      const response = await this.#handler(event.request, remote);
      if (response.status === 101) return void await event.respondWith(response).catch(ignore);
      const last = new Response(null, { status: response.status, headers: { connection: "close" } });
      await event.respondWith(last).catch(ignore);
      await http.nextRequest().catch(ignore); // the answer is on its way until then
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
      http.close();
    }
  }

  /** @returns whether it speaks TLS */
  async #shakeHands(connection: Deno.TlsConn): Promise<boolean> {
    this.#shaking.add(connection);
    try {
      await connection.handshake();
      return !this.#isClosed;
    } catch {
      if (!this.#isClosed) connection.close();
      return false;
    } finally {
      this.#shaking.delete(connection);
    }
  }

  /** Whoever has the most connections loses its oldest: a flood from one address displaces itself. */
  #makeRoom(): void {
    const counts = new Map<string, number>();
    for (const { address } of this.#waiting) counts.set(address, (counts.get(address) ?? 0) + 1);
    const most = Math.max(...counts.values());
    for (const waiting of this.#waiting) {
      if (counts.get(waiting.address) !== most) continue;
      this.#waiting.delete(waiting);
      return waiting.http.close();
    }
  }

  #endWaiting(): void {
    for (const { http } of this.#waiting) http.close();
    this.#waiting.clear();
  }
}

/** Whose connections, requests and failures are counted together. */
export function addressOf(remote: Deno.Addr): string {
  return "hostname" in remote ? remote.hostname : remote.transport;
}

function isShortage(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EMFILE" || error.code === "ENFILE");
}

/** Asks by opening them: no other way is the same on all systems. Where this process may not, nobody knows: true. */
function hasSpareDescriptors(): boolean {
  const path = "/dev/null";
  const isAllowed = Deno.build.os !== "windows" && // which has no limit to speak of
    Deno.permissions.querySync({ name: "read", path }).state === "granted";
  if (!isAllowed) return true;
  const opened: Deno.FsFile[] = [];
  try {
    for (let i = 0; i < SPARE_DESCRIPTORS; i++) opened.push(Deno.openSync(path));
    return true;
  } catch (error) {
    if (!isShortage(error)) throw error;
    return false;
  } finally {
    for (const file of opened) file.close();
  }
}

function serveHttpOf(deno: { readonly serveHttp?: ServeHttp }): ServeHttp {
  if (deno.serveHttp !== undefined) return deno.serveHttp;
  throw new UserError(`Deno ${Deno.version.deno} has no Deno.serveHttp, expected Deno 2.9 or a later 2`);
}
