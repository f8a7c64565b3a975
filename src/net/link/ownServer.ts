import { UserError } from "../../errors.ts";
import type { Gate, Knock } from "./gate.ts";
import { type Listener, upgrade } from "./listenServer.ts";

/**
 * The way into a node through a server that the caller runs already: the node opens no port of its own.
 *
 * Members of the group come to `url + "/data"`. Let `answer` have their requests, or upgrade them and hand over the
 * WebSocket with `accept`.
 *
 * @example
 * ```ts
 * const server = Deno.serve({ hostname: "127.0.0.1", port: 0 }, (request, { remoteAddr }) => {
 *   const isGroup = new URL(request.url).pathname === "/group/data";
 *   return isGroup ? own.answer(request, remoteAddr) : new Response("hello");
 * });
 * const own: OwnServer = new OwnServer(`ws://127.0.0.1:${server.addr.port}/group`);
 * // await joinGroup({ ..., listen: own });
 * await server.shutdown();
 * ```
 */
export class OwnServer {
  /** What the others are told. */
  readonly url: string;
  #door: { readonly gate: Gate; readonly path: string } | null = null;

  /** @param url where other nodes reach the server, with the path before `/data` */
  constructor(url: string) {
    this.url = url;
  }

  /**
   * Answers a request to become a WebSocket: with status 101 if it shows the group's token, from a page's script never,
   * and with 503 while no node has joined.
   *
   * @param remote whose requests and failures are counted
   */
  async answer(request: Request, remote: Deno.Addr): Promise<Response> {
    if (this.#door === null) return new Response(null, { status: 503 });
    return await upgrade(this.#door.gate, request, remote, this.#door.path);
  }

  /**
   * Takes over a WebSocket that the caller has upgraded, with the subprotocol that the request asked for. It is closed
   * where `answer` would have refused the request. Resolves when that is decided.
   *
   * @param visitor as the request said before it was upgraded: `ticket` is its header sec-websocket-protocol, null if
   * there is none; `address` is whose connections and failures are counted
   */
  async accept(socket: WebSocket, visitor: Omit<Knock, "path">): Promise<void> {
    if (this.#door === null) return socket.close();
    await this.#door.gate.accept(socket, { ...visitor, path: this.#door.path });
  }

  /** Leads to `gate` from now on, until that is closed. @throws UserError if it leads to another one */
  open(gate: Gate, path: string): Pick<Listener, "url" | "close"> {
    if (this.#door !== null) {
      throw new UserError(`The server at ${this.url} is a node's already, expected one of its own for each`);
    }
    this.#door = { gate, path };
    return {
      url: this.url,
      close: () => {
        gate.close();
        this.#door = null;
        return Promise.resolve();
      },
    };
  }
}
