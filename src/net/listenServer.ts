/** A server of its own for a gate, and the way through a gate for the requests of any other Deno server. */
import { UserError } from "../errors.ts";
import type { Gate } from "./gate.ts";

export interface ListenOptions {
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

/** How long requests that are under way may take to be answered. */
const CLOSE_MS = 500;

/**
 * Serves `gate` on a port of this machine.
 * @throws UserError where the port is taken, the name is not this machine's, or the certificate is of no use.
 */
export function listen(gate: Gate, { hostname = "127.0.0.1", port = 0, tls }: ListenOptions = {}): Listener {
  const server = serve(hostname, port, tls, gate);
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `${tls === undefined ? "ws" : "wss"}://${host}:${server.addr.port}`,
    port: server.addr.port,
    async close() {
      gate.close();
      const overdue = Promise.withResolvers<void>();
      const timer = setTimeout(overdue.resolve, CLOSE_MS);
      await Promise.race([server.shutdown(), overdue.promise]);
      clearTimeout(timer);
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
  path = URL.parse(request.url)?.pathname, // none where the Host header makes no sense
): Promise<Response> {
  const { headers } = request;
  const answer = (status: number) => new Response(null, { status });
  if (path === undefined) return answer(400);
  if (headers.get("upgrade")?.toLowerCase() !== "websocket") return answer(426);

  const address = "hostname" in remote ? remote.hostname : remote.transport;
  const ticket = headers.get("sec-websocket-protocol");
  const status = await gate.check({ address, path, origin: headers.get("origin"), ticket });
  if (status !== null) return answer(status);
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol: ticket ?? undefined });
    gate.take(socket, path, address);
    return response;
  } catch (error) {
    if (error instanceof TypeError) return answer(400); // the WebSocket's own headers are missing
    throw error;
  }
}

function serve(
  hostname: string,
  port: number,
  tls: ListenOptions["tls"],
  gate: Gate,
): Deno.HttpServer<Deno.NetAddr> {
  const where = `${hostname}:${port}`;
  const options = { hostname, port, onListen: () => {} };
  try {
    return Deno.serve(
      { ...options, ...tls },
      (request: Request, { remoteAddr }: Deno.ServeHandlerInfo) => upgrade(gate, request, remoteAddr),
    );
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
