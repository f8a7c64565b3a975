import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { RetryError, UserError } from "../../src/errors.ts";
import { importToken } from "../../src/net/link/auth.ts";
import { openWithCa } from "../../src/net/link/caFile.ts";
import { connect, reconnect } from "../../src/net/link/connect.ts";
import { Link } from "../../src/net/link/link.ts";
import { claim, openGate, openPair, randomBytes, randomNumbers, token } from "./sockets.ts";

const forever = new AbortController().signal;
/** A door that nobody has: one that was closed may be taken anew, or be open in a process that is being started. */
const NOBODY = "ws://127.0.0.1:1/data";

Deno.test("connect() tells what may pass from what won't", async () => {
  const dial = { token, claim, timeoutMs: 2000 };
  for (const url of ["node1:7777", "http://127.0.0.1/", "ws://127.0.0.1/#x", "", "ws://"]) {
    await assertRejects(() => connect({ ...dial, url }), UserError, "is no address of a server");
  }
  await using opened = openGate();
  await assertRejects(() => connect({ ...dial, url: new URL("/no", opened.url).href }), RetryError, "404");
  await assertRejects(() => connect({ ...dial, url: NOBODY }), RetryError, "cannot be reached");
});

Deno.test("connect() says that too many attempts from here have failed, and that it may try again", async () => {
  await using opened = openGate();
  const dial = { url: new URL("/no", opened.url).href, token, claim };
  const failures = await Promise.all(
    Array.from({ length: 40 }, () => connect(dial).then(() => null, (error: unknown) => error)),
  );
  const limited = failures.filter((error) => error instanceof RetryError && /too many/.test(error.message));
  assert(limited.length > 0, failures.join("\n"));
  for (const error of limited) {
    assertMatch(String(error), /too many attempts from here have failed, .* it hears one a second/);
    assert(!/cannot be reached/.test(String(error)), String(error));
  }
});

Deno.test("connect() loses nothing that the server sends before its proof is checked", async () => {
  await using opened = openGate();
  const entering = opened.entered().then((server) => {
    for (let i = 0; i < 5; i++) server.send(`${i}`);
  });
  const client = await connect({ url: opened.url, token, claim });
  await entering;
  for (let i = 0; i < 5; i++) assertEquals(await client.receive(), `${i}`);
});

Deno.test("connect() gives up on a server that doesn't answer, and on one without the token", async () => {
  const mute = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `ws://127.0.0.1:${mute.addr.port}/data`;
  await assertRejects(() => connect({ url, token, claim, timeoutMs: 30 }), RetryError, "no answer in 30 ms");
  mute.close();

  const impostor = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const protocol = request.headers.get("sec-websocket-protocol") ?? undefined;
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol });
    socket.onopen = () => socket.send(JSON.stringify({ nonce: "0".repeat(64) }));
    socket.onmessage = () => socket.send(JSON.stringify({ proof: "0".repeat(64) }));
    return response;
  });
  const dial = { url: `ws://127.0.0.1:${impostor.addr.port}/data`, token, claim };
  await assertRejects(() => connect(dial), UserError, "could not prove that it has this run's token");
  await impostor.shutdown();
});

Deno.test("reconnect() tries until there is a server", async () => {
  await using opened = openGate();
  const url = NOBODY;
  const failures: string[] = [];
  const open = (url: string, protocol: string) => {
    return new WebSocket(failures.length < 3 ? url : opened.url, protocol);
  };
  const channel = await reconnect({ url, token, claim, open }, {
    signal: forever,
    firstMs: 1,
    onFailure: ({ message }) => failures.push(message),
  });
  assertEquals(failures.length, 3);
  assert(failures.every((message) => message.startsWith(`${url} cannot be reached: `)), failures.join());
  channel.close();
});

Deno.test("reconnect() doesn't repeat what is of no use, and stops when it is told", async () => {
  await using opened = openGate();
  const { url } = opened;
  const otherToken = await importToken("another token of these tests");
  await assertRejects(
    () => reconnect({ url, token: otherToken, claim }, { signal: forever }),
    UserError,
    "refused",
  );
  const controller = new AbortController();
  const stopped = reconnect({ url: "ws://127.0.0.1:1/", token, claim }, {
    signal: controller.signal,
    firstMs: 60_000,
    onFailure: () => setTimeout(() => controller.abort(new Error("enough"))),
  });
  await assertRejects(() => stopped, Error, "enough");
});

Deno.test("reconnect() waits out whatever answers in the place of a server that is known", async () => {
  const others = [
    openGate({ refuse: () => "a run of its own" }),
    openGate({ tls: { cert: await readFixture("server.pem"), key: await readFixture("serverKey.pem") } }),
  ];
  const stranger = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(null, { status: 401 }),
  );
  await using opened = openGate();
  const places = [`ws://127.0.0.1:${stranger.addr.port}/`, ...others.map(({ url }) => url), opened.url];
  const failures: string[] = [];
  const channel = await reconnect({
    ...{ url: opened.url, token, claim },
    open: (_, protocol) => new WebSocket(places[failures.length], protocol),
  }, {
    signal: forever,
    isKnown: true,
    firstMs: 1,
    onFailure: (error) => {
      assert(error instanceof UserError, error.message);
      failures.push(error.message);
    },
  });
  channel.close();
  assertEquals(failures.length, 3);
  for (const [i, expected] of ["refused the token", "refused node 1 as", "not trusted"].entries()) {
    assert(failures[i].includes(expected), failures[i]);
  }
  await Promise.all([stranger.shutdown(), ...others.map((other) => other[Symbol.asyncDispose]())]);
});

Deno.test("reconnect() ends at its signal in the middle of an attempt", async () => {
  const mute = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const controller = new AbortController();
  const url = `ws://127.0.0.1:${mute.addr.port}/data`;
  const dialling = reconnect({ url, token, claim, timeoutMs: 1e9 }, { signal: controller.signal });
  using _connection = await mute.accept();
  controller.abort(new Error("enough"));
  await assertRejects(() => dialling, Error, "enough");
  mute.close();
});

/** A CA, and a certificate of its for 127.0.0.1, both good until 2126. */
async function readFixture(name: string): Promise<string> {
  return await Deno.readTextFile(new URL(`tls/${name}`, import.meta.url));
}

Deno.test("wss carries a link with a private CA, and nobody else's", async () => {
  const tls = { cert: await readFixture("server.pem"), key: await readFixture("serverKey.pem") };
  const ca = new URL("tls/ca.pem", import.meta.url).pathname;
  await using pair = await openPair(tls, await openWithCa(ca));
  const payload = randomBytes(65537, randomNumbers(8));
  const got = Promise.withResolvers<Uint8Array>();
  new Link(pair.client, { arrayBytes: () => payload.length, onFrame: (frame) => got.resolve(frame.payload) });
  const link = new Link(pair.server, { arrayBytes: () => undefined, onFrame: () => {} });
  const place = { bucket: 0, epoch: 1, step: 1, piece: 0, offset: 0 };
  await link.send({ type: "sum", wireType: "bytes", ...place, payload });
  assertEquals(await got.promise, payload);

  await using opened = openGate({ tls });
  assert(opened.url.startsWith("wss://"));
  await assertRejects(() => connect({ url: opened.url, token, claim }), UserError, "is not trusted");
});

Deno.test("openWithCa() says in one line what is wrong with its file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "ca.pem");
    await assertRejects(() => openWithCa(path), UserError, "cannot be read");
    await Deno.writeTextFile(path, "no certificate");
    await assertRejects(() => openWithCa(path), UserError, "holds no certificate");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
