import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import {
  type Admission,
  admitClient,
  type Claim,
  type Expected,
  type HandshakeSocket,
  importToken,
  isProof,
  isTicket,
  joinServer,
  newNonce,
  newTicket,
  prove,
} from "../../src/net/link/auth.ts";
import { claim, token } from "./sockets.ts";

const otherToken = await importToken("another token of these tests");
const expected: Expected = { token, run: "run 1", roles: ["member", "status"], id: "node 0" };

/** Two ends without a network; what the client sends goes through `tamper` first. */
function memoryPair(tamper: (text: string) => string = (text) => text) {
  const end = (incoming: string[], outgoing: string[], change = (text: string) => text): HandshakeSocket => ({
    send: (text) => void outgoing.push(change(text)),
    async receive() {
      for (let turn = 0; turn < 50; turn++) {
        const message = incoming.shift();
        if (message !== undefined) return message;
        await new Promise((resolve) => setTimeout(resolve));
      }
      throw new Error("nothing came");
    },
  });
  const [up, down]: string[][] = [[], []];
  return { client: end(down, up, tamper), server: end(up, down), up, down };
}

/** Runs a handshake; a client that is refused gets what a closed socket gives. */
async function handshake(
  clientToken: CryptoKey,
  clientClaim: Claim,
  tamper?: (text: string) => string,
): Promise<{ admission: Admission; joined: boolean }> {
  const { client, server, down } = memoryPair(tamper);
  const joining = joinServer(client, clientToken, clientClaim);
  const admission = await admitClient(server, expected);
  if (admission.refusal !== null) down.push("closed");
  return { admission, joined: await joining };
}

Deno.test("a handshake proves both sides to each other", async () => {
  assertEquals(await handshake(token, claim), { admission: { claim, refusal: null }, joined: true });
});

Deno.test("admitClient() says what is wrong, to the server alone", async () => {
  const refusal = async (clientToken: CryptoKey, changes: Partial<Claim>) => {
    const { admission, joined } = await handshake(clientToken, { ...claim, ...changes });
    assertEquals(joined, false);
    return admission.refusal;
  };
  assertEquals(await refusal(otherToken, {}), "wrong token, or a replayed answer");
  assertEquals(await refusal(otherToken, { run: "run 2" }), "wrong token, or a replayed answer");
  assertEquals(await refusal(token, { run: "run 2" }), "wrong run run 2");
  assertEquals(await refusal(token, { role: "coordinator" }), "wrong role coordinator");
  assertEquals(await refusal(token, { to: "node 2" }), "meant for node 2");
});

Deno.test("admitClient() lets its caller refuse a claim that is in order", async () => {
  const { client, server, up } = memoryPair();
  const refuse = ({ epoch }: Claim) => epoch < 4 ? `epoch ${epoch} is over` : null;
  const joining = joinServer(client, token, claim);
  assertEquals(await admitClient(server, { ...expected, refuse }), { claim, refusal: "epoch 3 is over" });
  await assertRejects(() => joining, Error, "nothing came");
  assertEquals(up, []);
});

Deno.test("admitClient() refuses what was changed on the way", async () => {
  for (const key of ["run", "role", "id", "to", "epoch"] as const) {
    const { admission } = await handshake(token, { ...claim, [key]: key === "epoch" ? 4 : "x" }, (text) => {
      const answer = JSON.parse(text);
      answer.claim[key] = claim[key];
      return JSON.stringify(answer);
    });
    assertEquals(admission.refusal, "wrong token, or a replayed answer", key);
  }
});

Deno.test("admitClient() refuses answers that are none", async () => {
  const nonce = newNonce();
  const answer = { claim, nonce, proof: nonce };
  for (
    const text of [
      "",
      "null",
      "{",
      "[".repeat(2000),
      JSON.stringify({ ...answer, nonce: undefined }),
      JSON.stringify({ ...answer, nonce: nonce.slice(1) }),
      JSON.stringify({ ...answer, proof: "z".repeat(64) }),
      JSON.stringify({ ...answer, more: 1 }),
      JSON.stringify({ ...answer, claim: { ...claim, id: "two\nlines" } }),
      JSON.stringify({ ...answer, claim: { ...claim, id: "x".repeat(129) } }),
      JSON.stringify({ ...answer, claim: { ...claim, epoch: -1 } }),
      JSON.stringify(answer) + " ".repeat(2048),
    ]
  ) {
    const { server, up } = memoryPair();
    up.push(text);
    assertEquals(
      await admitClient(server, expected),
      { claim: null, refusal: "malformed answer" },
      text.slice(0, 200),
    );
  }
});

Deno.test("a recorded handshake is of no use, to either side", async () => {
  const sent: string[] = [];
  const { client, server, down } = memoryPair((text) => (sent.push(text), text));
  const received: string[] = [];
  const joining = joinServer(
    {
      send: client.send,
      receive: async () => {
        const message = await client.receive();
        received.push(String(message));
        return message;
      },
    },
    token,
    claim,
  );
  await admitClient(server, expected);
  assert(await joining);
  assertEquals([sent.length, received.length, down.length], [1, 2, 0]);

  const toServer = memoryPair();
  toServer.up.push(sent[0]);
  const { refusal } = await admitClient(toServer.server, expected);
  assertEquals(refusal, "wrong token, or a replayed answer");

  const toClient = memoryPair();
  toClient.down.push(...received);
  assertEquals(await joinServer(toClient.client, token, claim), false);
});

Deno.test("joinServer() refuses a server without the token", async () => {
  const nonces = { server: newNonce(), client: newNonce() };
  for (const proof of [newNonce(), await prove(otherToken, "server", claim, nonces)]) {
    const { client, down } = memoryPair();
    down.push(JSON.stringify({ nonce: nonces.server }), JSON.stringify({ proof }));
    assertEquals(await joinServer(client, token, claim), false);
  }
  const reflecting = memoryPair((text) => {
    const { proof } = JSON.parse(text);
    reflecting.down.push(JSON.stringify({ proof }));
    return text;
  });
  reflecting.down.push(JSON.stringify({ nonce: nonces.server }));
  assertEquals(await joinServer(reflecting.client, token, claim), false);
});

Deno.test("prove() differs by side, claim and nonces, and isProof() holds it to all of them", async () => {
  const nonces = { server: newNonce(), client: newNonce() };
  const proof = await prove(token, "client", claim, nonces);
  assert(await isProof(token, "client", claim, nonces, proof));
  const swapped = { server: nonces.client, client: nonces.server };
  assert(!await isProof(token, "server", claim, nonces, proof));
  assert(!await isProof(token, "client", claim, swapped, proof));
  assert(!await isProof(otherToken, "client", claim, nonces, proof));
  // Fields must not run into each other.
  const shifted = { ...claim, run: claim.run + claim.role[0], role: claim.role.slice(1) };
  assert(!await isProof(token, "client", shifted, nonces, proof));
});

Deno.test("isTicket() knows tickets from those of another token, node or run", async () => {
  const ticket = await newTicket(token, claim);
  assert(await isTicket(token, claim, ticket));
  assert(!await isTicket(otherToken, claim, ticket));
  assert(!await isTicket(token, { ...claim, to: "node 2" }, ticket));
  assert(!await isTicket(token, { ...claim, run: "run 2" }, ticket));
  for (const other of ["", "bloomery", `${ticket}0`, ticket.replace(/.$/, (c) => c === "0" ? "1" : "0")]) {
    assert(!await isTicket(token, claim, other), other);
  }
});

Deno.test("importToken() leaves out white space and refuses short tokens, without repeating them", async () => {
  const nonces = { server: newNonce(), client: newNonce() };
  const spaced = await importToken("\n a token of these tests\r\n");
  assert(await isProof(token, "client", claim, nonces, await prove(spaced, "client", claim, nonces)));
  assertEquals(token.extractable, false);
  const { message } = assertThrows(() => importToken(" hunter2 "), UserError, "7 characters");
  assert(!message.includes("hunter2"));
});
