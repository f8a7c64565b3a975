import { assertEquals } from "@std/assert";
import { FAIR, Proxy } from "../../src/chaos/proxy.ts";

/** A server that sends back what it gets, and a proxy before it. */
class Echo implements Disposable {
  readonly proxy = new Proxy();
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });

  constructor() {
    this.proxy.target = this.#listener.addr.port;
    this.#serve();
  }

  async #serve(): Promise<void> {
    for await (const connection of this.#listener) {
      connection.readable.pipeTo(connection.writable).catch(() => {});
    }
  }

  dial(): Promise<Deno.TcpConn> {
    return Deno.connect({ hostname: "127.0.0.1", port: this.proxy.port });
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    this.proxy[Symbol.dispose]();
  }
}

/** Sends bytes, says that they were all, and reads what comes back. */
async function exchange(connection: Deno.TcpConn, sent: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const received = readAll(connection);
  for (let done = 0; done < sent.length;) done += await connection.write(sent.subarray(done));
  await connection.closeWrite();
  return await received;
}

/** Everything up to the end, whichever way it comes. */
async function readAll(connection: Deno.TcpConn): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(1 << 16);
  for (;;) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) break;
    parts.push(buffer.slice(0, count));
  }
  connection.close();
  return await new Blob(parts as Uint8Array<ArrayBuffer>[]).bytes();
}

function bytes(count: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: count }, (_, i) => i * 7);
}

Deno.test("a proxy passes everything on in both directions, in any weather, and each side's end", async () => {
  using echo = new Echo();
  for (const weather of [FAIR, { delayMs: 2, bytesPerSecond: 4e6 }]) {
    echo.proxy.weather = weather;
    assertEquals(await exchange(await echo.dial(), bytes(300_000)), bytes(300_000));
  }
  echo.proxy.stall(50);
  assertEquals(await exchange(await echo.dial(), bytes(10)), bytes(10));
});

Deno.test("a proxy cuts at a byte: what is before it has passed, nothing behind it", async () => {
  using echo = new Echo();
  const connection = await echo.dial();
  const cut = echo.proxy.cutAfter(1000);
  await connection.write(bytes(600));
  const received = await readAll(connection);
  await cut;
  assertEquals(received, bytes(400)); // 600 there and 400 back
});

Deno.test("a proxy tells of a byte before it passes on what follows, and has no target before it is given one", async () => {
  const echo = new Echo();
  const reached = echo.proxy.reach(5).then(() => echo.proxy.cut());
  await exchange(await echo.dial(), bytes(9)).catch(() => {});
  await reached;
  echo.proxy.target = null;
  const connection = await echo.dial();
  assertEquals(await connection.read(new Uint8Array(1)).catch(() => null), null);
  connection.close();
  const { port } = echo.proxy;
  echo[Symbol.dispose]();
  // A process that another test is starting may have the port open, too, for a moment: then the connection ends.
  const late = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => null);
  assertEquals(late && await readAll(late), late && bytes(0));
});
