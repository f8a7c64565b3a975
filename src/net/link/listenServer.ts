/** A server of its own for a gate, and the way through a gate for the requests of any other Deno server. */
import { UserError } from "../../errors.ts";
import type { Gate } from "./gate.ts";
import { addressOf, type Handler, type HttpLimits, type HttpListener, HttpServer } from "./httpServer.ts";

export interface ListenOptions extends HttpLimits {
  /** Default 127.0.0.1: nobody else can connect unless the user says so. */
  readonly hostname?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** Certificate chain and private key as PEM texts; with them the server speaks wss alone. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface Listener {
  /** Such as `ws://127.0.0.1:7777`. */
  readonly url: string;
  readonly port: number;
  /** Closes the gate, tells everybody who came through it, and frees the port. */
  close(): Promise<void>;
}

/** How long the others may take to hear that this side has closed. */
const CLOSE_MS = 500;

/**
 * Serves `gate` on a port of this machine.
 *
 * @param warn takes a line for people: nobody new is let in for a while
 * @throws UserError where the port is taken, the name is not this machine's, or the certificate is of no use.
 */
export function listen(
  gate: Gate,
  options: ListenOptions = {},
  warn: (text: string) => void = () => {},
): Listener {
  const { hostname = "127.0.0.1", port = 0, tls } = options;
  const listener = open(hostname, port, tls);
  const sockets = new Set<WebSocket>();
  const answer: Handler = async (request, remote) => {
    const { response, socket } = await admit(gate, request, remote);
    if (socket !== null) {
      sockets.add(socket);
      socket.addEventListener("close", () => sockets.delete(socket));
    }
    return response;
  };
  const server = new HttpServer(listener, answer, warn, options);
  const at = listener.addr.port;
  return {
    url: urlOf(hostname, at, tls),
    port: at,
    async close() {
      gate.close();
      await server.close();
      await allClosed(sockets);
    },
  };
}

/**
 * Answers a request to one of the gate's paths, from within any `Deno.serve`.
 *
 * @param path of the gate's door; by default the request's
 *
 * @example
 * ```ts
 * Deno.serve((request, info) =>
 *   new URL(request.url).pathname === "/data" ? upgrade(gate, request, info.remoteAddr) : page(request)
 * );
 * ```
 */
export async function upgrade(
  gate: Gate,
  request: Request,
  remote: Deno.Addr,
  path?: string,
): Promise<Response> {
  return (await admit(gate, request, remote, path)).response;
}

interface Answer {
  readonly response: Response;
  /** Where it is one: the gate has it. */
  readonly socket: WebSocket | null;
}

async function admit(
  gate: Gate,
  request: Request,
  remote: Deno.Addr,
  path = URL.parse(request.url)?.pathname, // none where the Host header makes no sense
): Promise<Answer> {
  const { headers } = request;
  const answer = (status: number) => ({ response: new Response(null, { status }), socket: null });
  if (path === undefined) return answer(400);
  if (headers.get("upgrade")?.toLowerCase() !== "websocket") return answer(426);

  const address = addressOf(remote);
  const ticket = headers.get("sec-websocket-protocol");
  const status = await gate.check({ address, path, origin: headers.get("origin"), ticket });
  if (status !== null) return answer(status);
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol: ticket ?? undefined });
    gate.take(socket, path, address);
    return { response, socket };
  } catch (error) {
    if (error instanceof TypeError) return answer(400); // the WebSocket's own headers are missing
    throw error;
  }
}

/** Such as `wss://[::1]:7777`. */
export function urlOf(hostname: string, port: number, tls: ListenOptions["tls"]): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${tls === undefined ? "ws" : "wss"}://${host}:${port}`;
}

/** Resolves when all of them are, or have not said so in time. */
async function allClosed(sockets: ReadonlySet<WebSocket>): Promise<void> {
  const overdue = performance.now() + CLOSE_MS;
  while (sockets.size > 0 && performance.now() < overdue) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function open(
  hostname: string,
  port: number,
  tls: ListenOptions["tls"],
): HttpListener {
  const where = `${hostname}:${port}`;
  try {
    return tls === undefined ? Deno.listen({ hostname, port }) : Deno.listenTls({ hostname, port, ...tls });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new UserError(`${where} is in use by another process, expected a free port; choose another one`);
    }
    if (error instanceof Deno.errors.AddrNotAvailable) {
      throw new UserError(
        `${hostname} is not an address of this machine; listen on one that is, or on 0.0.0.0`,
      );
    }
    if (error instanceof Error && /lookup address/.test(error.message)) {
      throw new UserError(`${hostname} does not resolve to an address; listen on an address of this machine`);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new UserError(`This user may not listen on ${where}; choose a port above 1023`);
    }
    if (error instanceof Deno.errors.InvalidData) {
      throw new UserError(`The TLS certificate or key is of no use (${error.message}); expected PEM texts`);
    }
    throw error;
  }
}
