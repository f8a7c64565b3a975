import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { forEachLine } from "../../src/lines.ts";
import { importToken, newTicket } from "../../src/net/link/auth.ts";
import { connect, reconnect } from "../../src/net/link/connect.ts";
import { Gate } from "../../src/net/link/gate.ts";
import { listen, upgrade } from "../../src/net/link/listenServer.ts";
import { claim, openGate, token } from "./sockets.ts";

const otherToken = await importToken("another token of these tests");

/** The status with which an HTTP server answers `lines` and an empty line. */
async function statusOf(url: string, lines: readonly string[]): Promise<number> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  const answer = new Uint8Array(1000);
  const numBytes = await connection.read(answer) ?? 0;
  return Number(/^HTTP\/1.1 (\d+)/.exec(new TextDecoder().decode(answer.subarray(0, numBytes)))?.[1]);
}

const UPGRADE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: eA==",
];

/** The status of a request to open a WebSocket; 101: it is open. */
function knock(url: string, ticket: string, more: readonly string[] = []): Promise<number> {
  const { pathname } = new URL(url);
  const head = [`GET ${pathname} HTTP/1.1`, "Host: localhost", `Sec-WebSocket-Protocol: ${ticket}`];
  return statusOf(url, [...head, ...UPGRADE, ...more]);
}

/** A WebSocket that has shown its ticket and then does what the test says. */
async function openRaw(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, await newTicket(token, claim));
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onclose = () => reject(new Error("closed"));
  });
  return socket;
}

const closeOf = (socket: WebSocket) => new Promise<CloseEvent>((resolve) => socket.onclose = resolve);

Deno.test("listen() upgrades requests with a ticket, for known paths and origins alone", async () => {
  await using opened = openGate({ origins: ["https://example.org"], handshakeMs: 1 });
  const { url, log } = opened;
  const ticket = () => newTicket(token, claim);
  const used = await ticket();
  assertEquals(await knock(url, used), 101);
  assertEquals(await knock(url, await ticket(), ["Origin: https://example.org"]), 101);
  assertEquals(await knock(url, await ticket(), ["Origin: https://example.com"]), 403);
  assertEquals(await knock(new URL("/other", url).href, await ticket()), 404);
  assertEquals(await knock(new URL("/constructor", url).href, await ticket()), 404);
  assertEquals(await knock(url, await newTicket(otherToken, claim)), 401);
  for (const other of [{ run: "run 2" }, { to: "node 2" }]) {
    assertEquals(await knock(url, await newTicket(token, { ...claim, ...other })), 401);
  }
  assertEquals(await knock(url, used), 401);
  const told = log.map(({ refusal }) => refusal ?? "").filter((refusal) =>
    !/^(its connection|no handshake) /.test(refusal)
  );
  assertEquals(told, [
    "origin https://example.com",
    "unknown path",
    "unknown path",
    ...Array(3).fill("wrong token, or a ticket for another node or run"),
    "replayed ticket",
  ]);
});

Deno.test("listen() answers requests that make no sense with a status", async () => {
  await using opened = openGate();
  const get = "GET /data HTTP/1.1";
  const ticket = `Sec-WebSocket-Protocol: ${await newTicket(token, claim)}`;
  assertEquals(await statusOf(opened.url, [get, "Host: localhost"]), 426);
  assertEquals(await statusOf(opened.url, [get, "Host: @@:/x y", "Upgrade: websocket"]), 400);
  assertEquals(await statusOf(opened.url, [get, "Host: localhost", "Upgrade: websocket", ticket]), 400);
  assertEquals(await statusOf(opened.url, ["no HTTP"]), 400);
});

Deno.test("a gate tells its log why somebody is refused, and them nothing", async () => {
  const refuse = ({ epoch }: { epoch: number }) => epoch === 9 ? "epoch 9 is over" : null;
  await using opened = openGate({ refuse });
  const { url, log } = opened;
  const messages = new Set<string>();
  for (const changes of [{ run: "run 2" }, { role: "status" }, { to: "node 2" }, { epoch: 9 }]) {
    const error = await assertRejects(
      () => connect({ url, token, claim: { ...claim, ...changes } }),
      UserError,
    );
    messages.add(error.message.replace(changes.role ?? claim.role, "S"));
  }
  const error = await assertRejects(() => connect({ url, token: otherToken, claim }), UserError);
  messages.add(error.message);
  const refused = `${url} refused the token, expected the one that its group has on all nodes; or it is not`;
  assertEquals([...messages], [
    `${refused} node 0 of run run 2`,
    `${url} refused node 1 as S of run run 1; the token, the run or the role differ, and the log over there says which`,
    `${refused} node 2 of run run 1`,
    `${refused} node 0 of run run 1`,
  ]);
  const channel = await connect({ url, token, claim });
  assertEquals(log.map(({ claim, refusal }) => [claim?.id, refusal]), [
    [undefined, "wrong token, or a ticket for another node or run"],
    ["node 1", "wrong role status"],
    [undefined, "wrong token, or a ticket for another node or run"],
    ["node 1", "epoch 9 is over"],
    [undefined, "wrong token, or a ticket for another node or run"],
    ["node 1", null],
  ]);
  assert(!JSON.stringify(log).includes("a token of these tests"));
  channel.close();
});

Deno.test("a gate closes on whoever is silent", async () => {
  await using opened = openGate({ handshakeMs: 50 });
  const silent = await openRaw(opened.url);
  assertEquals((await closeOf(silent)).code, 4403);
  assertEquals(opened.log.map(({ claim, refusal }) => [claim, refusal]), [
    [null, "no handshake in time"],
  ]);
});

Deno.test("a gate doesn't hold it against anybody with a ticket to leave by itself", async () => {
  await using opened = openGate({ handshakeMs: 1000 });
  for (let i = 0; i < 30; i++) {
    const leaving = await openRaw(opened.url);
    const closed = closeOf(leaving);
    leaving.close(4400);
    await closed;
  }
  const channel = await connect({ url: opened.url, token, claim }); // not turned away unheard either
  assertEquals(opened.log.map(({ refusal }) => refusal), [null]);
  channel.close();
});

Deno.test("a gate closes on whoever speaks out of turn", async () => {
  await using opened = openGate();
  const loud = await openRaw(opened.url);
  loud.send("x".repeat(5000));
  await closeOf(loud);

  const wrong = await openRaw(opened.url);
  wrong.send(new Uint8Array(10));
  assertEquals((await closeOf(wrong)).code, 4402);
  assertEquals(opened.log.map(({ claim, refusal }) => [claim, refusal]), [
    [null, "we closed as overflow: more messages than may wait"],
    [null, "malformed answer"],
  ]);
});

Deno.test("a gate refuses a handshake that was recorded", async () => {
  await using opened = openGate();
  let answer = "";
  await connect({
    url: opened.url,
    token,
    claim,
    open: (url, ticket) => {
      const socket = new WebSocket(url, ticket);
      const send = socket.send.bind(socket);
      socket.send = (text) => send(answer = String(text));
      return socket;
    },
  });
  const replay = await openRaw(opened.url);
  replay.send(answer);
  assertEquals((await closeOf(replay)).code, 4402);
  assertEquals(opened.log.at(-1), {
    address: "127.0.0.1",
    path: "/data",
    claim,
    refusal: "wrong token, or a replayed answer",
  });
});

Deno.test("a gate bounds the connections of an address, and those that wait", async () => {
  for (const limits of [{ maxPerAddress: 2 }, { maxPending: 2 }]) {
    await using opened = openGate(limits);
    const sockets = [await openRaw(opened.url), await openRaw(opened.url)];
    const ticket = await newTicket(token, claim);
    assertEquals(await knock(opened.url, ticket), 503);
    for (const socket of sockets) {
      socket.close();
      await closeOf(socket);
    }
    while (await knock(opened.url, await newTicket(token, claim)) === 503) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assertEquals(opened.log[0].refusal, "too many connections");
  }
});

Deno.test("a gate turns away an address with too many failures, and says so once", async () => {
  await using opened = openGate();
  const statuses = [];
  for (let i = 0; i < 30; i++) statuses.push(await knock(opened.url, "x"));
  assertEquals(statuses.slice(0, 10), Array(10).fill(401));
  assert(statuses.includes(429), statuses.join());
  const { log } = opened;
  assert(log.length < 20);
  assertEquals(await knock(opened.url, await newTicket(token, claim)), 429); // nobody looks at what it shows
  assert(log.filter(({ refusal }) => refusal?.includes("turned away unheard")).length >= 1);
  const numUnheard = statuses.filter((status) => status === 429).length;
  while (!/\d+ more were turned away unheard before/.test(log.at(-1)?.refusal ?? "")) {
    if (await knock(opened.url, "x") === 401) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const told = log.flatMap(({ refusal }) => /(\d+) more were/.exec(refusal ?? "")?.[1] ?? []);
  assert(told.reduce((sum, count) => sum + Number(count), 0) >= numUnheard, log.at(-1)?.refusal ?? "");
});

Deno.test("a gate hears an address with too many failures if somebody has come in from there", async () => {
  await using opened = openGate();
  const member = await connect({ url: opened.url, token, claim });
  const statuses = [];
  for (let i = 0; i < 30; i++) statuses.push(await knock(opened.url, "x"));
  assertEquals(statuses.at(-1), 429);
  assertEquals(await knock(opened.url, await newTicket(token, claim)), 101);
  const again = await connect({ url: opened.url, token, claim });
  for (const channel of [member, again]) channel.close();
});

Deno.test("a gate serves the requests of a server that is not its own", async () => {
  let entered = 0;
  const door = { token, run: claim.run, roles: [claim.role], id: claim.to, enter: () => entered++ };
  const gate = new Gate({ doors: { "/group": door } });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request, { remoteAddr }) => {
      return new URL(request.url).pathname === "/group"
        ? upgrade(gate, request, remoteAddr)
        : new Response("page");
    },
  );
  const where = `127.0.0.1:${server.addr.port}`;
  assertEquals(await (await fetch(`http://${where}/`)).text(), "page");
  const channel = await connect({ url: `ws://${where}/group`, token, claim });
  assertEquals(entered, 1);
  gate.close();
  assertEquals(await channel.closed, { kind: "left", by: "peer", detail: "" });
  await server.shutdown();
});

Deno.test("a listener closes although a request is still under way", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<number>();
  class SlowGate extends Gate {
    override check(): Promise<number> {
      asked.resolve();
      return answer.promise;
    }
  }
  const listener = listen(new SlowGate({ doors: {} }));
  const socket = new WebSocket(listener.url);
  const closed = new Promise((resolve) => socket.onclose = resolve);
  await asked.promise;
  await listener.close();
  answer.resolve(503);
  await closed;
});

/** A connection to a server that says `text` and then nothing; how it ends. */
async function openSilent(
  url: string,
  text = "",
): Promise<{ readonly connection: Deno.Conn; readonly ended: Promise<unknown> }> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  if (text !== "") await connection.write(new TextEncoder().encode(text));
  const ended = connection.read(new Uint8Array(1)).catch(() => null).finally(() => connection.close());
  return { connection, ended };
}

Deno.test("listen() closes on connections without a whole request, with TLS, too", async () => {
  await using opened = openGate({ requestMs: 50 });
  for (const text of ["", "GET /data HTTP/1.1\r\nHos"]) await (await openSilent(opened.url, text)).ended;
  const channel = await connect({ url: opened.url, token, claim });
  await (await openSilent(opened.url)).ended;
  assert(!channel.isClosed); // a WebSocket is no request that never comes
  channel.close();

  const read = (name: string) => Deno.readTextFileSync(new URL(`tls/${name}`, import.meta.url));
  const tls = { cert: read("server.pem"), key: read("serverKey.pem") };
  await using secure = openGate({ tls, requestMs: 50 });
  const port = Number(new URL(secure.url).port);
  const connection = await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [read("ca.pem")] });
  await connection.read(new Uint8Array(1)).catch(() => {});
  connection.close();
  await openSilent(secure.url); // within the handshake; the listener closes all the same
});

Deno.test("listen() lets the oldest of those who say nothing go when there are too many", async () => {
  await using opened = openGate({ maxWaiting: 3, requestMs: 60_000 });
  const silent = [];
  for (let i = 0; i < 3; i++) silent.push(await openSilent(opened.url));
  const channel = await connect({ url: opened.url, token, claim });
  await silent[0].ended;
  silent.push(await openSilent(opened.url), await openSilent(opened.url));
  await silent[1].ended;
  assert(!channel.isClosed);
  channel.close();
});

Deno.test({
  name: "listen() outlives a flood that would take all file descriptors, and leaves some to its process",
  ignore: Deno.build.os === "windows",
  async fn() {
    const script = new URL("./crowded.ts", import.meta.url).pathname;
    const crowded = new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 128 && exec "$0" run -A --quiet --no-check "$1"', Deno.execPath(), script],
      stdout: "piped",
      stdin: "piped",
    }).spawn();
    const url = Promise.withResolvers<string>();
    const short = Promise.withResolvers<void>();
    const written = Promise.withResolvers<void>();
    const reading = forEachLine(crowded.stdout, (line) => {
      if (line.startsWith("ws://")) url.resolve(line);
      else if (line === "written") written.resolve();
      else if (line.startsWith("Too few file descriptors are left for new connections")) short.resolve();
      else throw new Error(line);
    });
    reading.then(() => {
      for (const { reject } of [url, short, written]) reject(new Error("the process has ended"));
    });
    for (const { promise } of [url, short, written]) promise.catch(() => {});
    const dial = { url: await url.promise, token, claim };
    const channel = await connect(dial);
    const silent = [];
    for (let i = 0; i < 300; i++) silent.push(await openSilent(dial.url));
    await short.promise;
    channel.send("write"); // over a link that was there
    await written.promise;
    await Promise.all(silent.map(({ ended }) => ended));
    (await reconnect(dial, { signal: AbortSignal.timeout(20_000) })).close();
    channel.close();
    await crowded.stdin.close();
    assertEquals((await crowded.status).code, 0);
    await reading;
  },
});

Deno.test("listen() says in one line why it cannot", async () => {
  const gate = new Gate({ doors: {} });
  const listener = listen(gate);
  assertThrows(() => listen(gate, { port: listener.port }), UserError, "is in use by another process");
  assertThrows(() => listen(gate, { hostname: "192.0.2.1" }), UserError, "is not an address of this machine");
  assertThrows(() => listen(gate, { tls: { cert: "x", key: "y" } }), UserError, "TLS certificate or key");
  await listener.close();
});
