import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  asciiLine,
  Channel,
  ClosedError,
  describeClose,
  describeLoss,
  type Message,
} from "../../src/net/link/channel.ts";
import { openPair } from "./sockets.ts";

Deno.test("Channel keeps messages in order, those that come before its consumer too", async () => {
  await using pair = await openPair();
  const { client, server } = pair;
  client.send("0");
  client.send(new Uint8Array([1]));
  client.send("2");
  assertEquals(await server.receive(), "0");
  const got: Message[] = [];
  const all = Promise.withResolvers<void>();
  server.consume({
    onMessage: (message) => {
      got.push(message);
      if (got.length === 3) all.resolve();
    },
    maxMessage: 10,
    maxUnsent: 1000,
  });
  client.send("3");
  await all.promise;
  assertEquals(got, [new Uint8Array([1]).buffer, "2", "3"]);
});

Deno.test("Channel tells both sides why it closed, once", async () => {
  await using pair = await openPair();
  const { client, server } = pair;
  const receiving = assertRejects(() => server.receive(), ClosedError, "peer closed as fault: bad ?news?");
  client.close("fault", "bad \nnews\u2028");
  client.close("left");
  assert(client.isClosed);
  assertEquals(await client.closed, { kind: "fault", by: "us", detail: "bad ?news?" });
  assertEquals(await server.closed, { kind: "fault", by: "peer", detail: "bad ?news?" });
  await receiving;
  await assertRejects(() => client.receive(), ClosedError, "we closed as fault");
  client.send("dropped");
  server.close();
  assertEquals((await server.closed).kind, "fault");
});

Deno.test("Channel closes when more waits unread than may", async () => {
  await using pair = await openPair();
  const { client, server } = pair;
  server.allow(1000);
  for (let i = 0; i < 20; i++) client.send(""); // empty messages are not free
  assertEquals((await server.closed).kind, "overflow");
  assertEquals((await client.closed).by, "peer");
});

Deno.test("Channel closes on a message over its consumer's cap", async () => {
  await using pair = await openPair();
  const { client, server } = pair;
  let numTaken = 0;
  server.consume({ onMessage: () => numTaken++, maxMessage: 4, maxUnsent: 1000 });
  client.send("four");
  client.send("five5");
  client.send("four");
  assertEquals(await server.closed, { kind: "fault", by: "us", detail: "message of 5 bytes" });
  assertEquals((await client.closed).by, "peer");
  assertEquals(numTaken, 1);
});

Deno.test("Channel closes when more waits to be sent than may", async () => {
  await using pair = await openPair();
  const { client } = pair;
  client.consume({ onMessage: () => {}, maxMessage: 4, maxUnsent: 1 << 20 });
  const chunk = new Uint8Array(1 << 18);
  // Nothing leaves while this thread doesn't come to rest.
  for (let i = 0; i < 10 && !client.isClosed; i++) client.send(chunk);
  assertEquals((await client.closed).kind, "overflow");
});

Deno.test("Channel answers what gets no other answer, and its other end drops that", async () => {
  const got: Message[] = [];
  const third = Promise.withResolvers<void>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const channel = new Channel(socket, "server", 1000);
    channel.consume({
      onMessage: (message) => {
        if (message === "question") channel.send("answer");
        if (message === "bye") channel.close();
      },
      maxMessage: 10,
      maxUnsent: 1000,
    });
    return response;
  });
  const url = `ws://127.0.0.1:${server.addr.port}`;
  const socket = new WebSocket(url);
  socket.onmessage = ({ data }) => {
    got.push(data);
    if (got.length === 3) third.resolve();
  };
  await new Promise<void>((resolve) => socket.onopen = () => resolve());
  for (const text of ["remark", "question", "remark"]) socket.send(text);
  await third.promise;
  assertEquals(got, ["", "answer", ""]);
  socket.send("bye");
  await new Promise<void>((resolve) => socket.onclose = () => resolve());

  const client = new Channel(new WebSocket(url), "client", 1000);
  await client.opened;
  for (const text of ["remark", "question"]) client.send(text);
  assertEquals(await client.receive(), "answer");
  client.send("bye");
  assertEquals(await client.closed, { kind: "left", by: "peer", detail: "" });
  await server.shutdown();
});

Deno.test("keepAlive() closes on silence, and on nothing else", async () => {
  await using pair = await openPair();
  const { client, server } = pair;
  let beats = 0;
  client.keepAlive(10, () => beats++);
  client.consume({ onMessage: () => {}, maxMessage: 10, maxUnsent: 1000 });
  let spoken = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      server.send("here");
      if (++spoken < 60) return;
      clearInterval(timer);
      resolve();
    }, 2);
  });
  assert(!client.isClosed);
  const detail = "nothing heard for 0.025 s";
  assertEquals(await client.closed, { kind: "silent", by: "us", detail });
  assertEquals(await server.closed, { kind: "silent", by: "peer", detail });
  assert(beats >= 2);
});

Deno.test("Channel is lost when the other side's process is killed", async () => {
  const arrived = Promise.withResolvers<Channel>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    arrived.resolve(new Channel(socket, "server", 1000));
    return response;
  });
  const code = `new WebSocket("ws://127.0.0.1:${server.addr.port}").onmessage = () => {};`;
  const child = new Deno.Command(Deno.execPath(), { args: ["eval", code] }).spawn();
  const channel = await arrived.promise;
  await channel.opened;
  child.kill("SIGKILL");
  const { kind, by } = await channel.closed;
  assertEquals({ kind, by }, { kind: "lost", by: "peer" });
  await child.status;
  await server.shutdown();
});

Deno.test("describeClose() and asciiLine() write one line", () => {
  assertEquals(describeClose({ kind: "left", by: "us", detail: "" }), "we left");
  assertEquals(describeClose({ kind: "left", by: "peer", detail: "done" }), "peer left: done");
  assertEquals(describeClose({ kind: "lost", by: "peer", detail: "" }), "peer was lost");
  for (const kind of ["lost", "left"] as const) {
    assertEquals(describeLoss({ kind, by: "peer", detail: "EOF" }), "its connection has ended");
  }
  const detail = "nothing heard for 2.5 s";
  assertEquals(describeLoss({ kind: "silent", by: "us", detail }), detail);
  assertEquals(describeLoss({ kind: "fault", by: "us", detail: "no JSON" }), "we closed as fault: no JSON");
  assertEquals(describeClose({ kind: "silent", by: "us", detail: "" }), "we closed as silent");
  assertEquals(asciiLine("a\u001b[31mb\né"), "a?[31mb??");
  assertEquals(asciiLine("x".repeat(500)).length, 120);
});
