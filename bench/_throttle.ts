/** A slow network on one machine. */

/** So much is made up for where the proxy was late, as the machine was busy: else the network would be slower than said. */
const LATE_MS = 50;

/**
 * A port that leads to another one of this machine. What comes back from there, over all connections together, takes its
 * time: members send over the sockets that others have opened to them.
 *
 * @returns the port; it is closed with the signal
 */
export function throttle(port: number, bytesPerMs: number, signal: AbortSignal): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  signal.addEventListener("abort", () => listener.close());
  /** When what was let through until now is through, by performance.now(). */
  let through = 0;
  const takeTurn = async (bytes: number) => {
    through = Math.max(through, performance.now() - LATE_MS) + bytes / bytesPerMs;
    const wait = through - performance.now();
    if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
  };
  (async () => {
    for await (const client of listener) {
      client.setNoDelay();
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      server.setNoDelay();
      const limit = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        async transform(chunk, controller) {
          await takeTurn(chunk.length);
          controller.enqueue(chunk);
        },
      });
      const ends = () => {}; // a member has ended
      client.readable.pipeTo(server.writable).catch(ends);
      server.readable.pipeThrough(limit).pipeTo(client.writable).catch(ends);
    }
  })().catch(() => {}); // closed
  return listener.addr.port;
}
