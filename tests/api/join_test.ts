import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { type JoinOptions, type RunSettings, train, type TrainResult, UserError } from "../../mod.ts";
import { importToken, newNonce } from "../../src/net/link/auth.ts";
import { type Coordinator, runCoordinator } from "../../src/net/coordinator/coordinatorServer.ts";
import { listCheckpoints } from "../../src/train/checkpoint.ts";
import { testGpu } from "../_gpu.ts";
import { ScriptedMember } from "../net/scriptedMember.ts";
import { token } from "../net/sockets.ts";
import { TINY } from "./support.ts";

/** Five virtual workers and everything on whose bits could depend on who computes what. */
const SETTINGS: RunSettings = {
  ...TINY,
  model: { numLayers: 1, modelDim: 8, numHeads: 2, seqLen: 8, dropout: 0.1, attentionDropout: 0.1 },
  train: {
    batchSize: 7,
    microBatchSize: 1,
    duration: "6 steps",
    rampUp: { start: 3, increment: 2, samples: 4 },
  },
  scale: { virtualWorkers: 5 },
};

async function inGroup(
  minMembers: number,
  test: (coordinator: Coordinator) => Promise<void>,
): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const stop = new AbortController();
  const settings = { minMembers, waitMs: 1000, heartbeatMs: 200, force: false };
  const lines: string[] = [];
  const coordinator = await runCoordinator({
    ...{ folder, token, settings, signal: stop.signal },
    log: (_, text) => lines.push(text),
  });
  try {
    await test(coordinator);
  } finally {
    stop.abort();
    await coordinator.ended;
    await Deno.remove(folder, { recursive: true });
  }
  return lines;
}

/** What a run comes to without a group. */
async function trainAlone(settings: RunSettings): Promise<TrainResult> {
  const { device } = await testGpu();
  return await train(settings, { device });
}

const outcome = ({ steps, digest, finalLoss, validation, interrupted }: TrainResult) => {
  return { steps, digest, finalLoss, validation, interrupted };
};

Deno.test("train() in a group of three comes to what it comes to alone, and keeps it where there is a folder", async () => {
  const alone = await trainAlone(SETTINGS);
  const folder = await Deno.makeTempDir();
  try {
    const run = join(folder, "run");
    await inGroup(3, async ({ url }) => {
      const losses: number[][] = [[], [], []];
      const results = await Promise.all([run, null, null].map((folder, i) =>
        train(SETTINGS, {
          folder,
          join: { url, token, memberId: `member-${i}` },
          onProgress: ({ loss }) => losses[i].push(loss),
        })
      ));
      for (const result of results) assertEquals(outcome(result), outcome(alone));
      assertEquals(losses[1], losses[0]);
      assertEquals(await results[0].files(), await alone.files());
    });
    const nobody = { url: "ws://127.0.0.1:1", token };
    const messages: string[] = [];
    const again = await train(SETTINGS, {
      folder: run,
      join: nobody,
      onMessage: (text) => messages.push(text),
    });
    assertEquals(again.digest, alone.digest); // is over, and waits for nobody
    assertStringIncludes(
      messages.join(),
      "The run is finished here, after step 6, and no group of it is there",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("train() tells in one line why a group does not take it, and the group goes on", async () => {
  const alone = await trainAlone(SETTINGS);
  const seen = await inGroup(2, async ({ url }) => {
    const isWaiting = Promise.withResolvers<void>();
    const first = train(SETTINGS, {
      join: { url, token, memberId: "first" },
      onMessage: (text) => text.startsWith("Waits for members") ? isWaiting.resolve() : undefined,
    });
    await Promise.race([isWaiting.promise, first]);
    const text = "to be or not to be, that is the question ".repeat(20);
    const strangers: [RunSettings, CryptoKey, string][] = [
      [{ ...SETTINGS, seed: 7 }, token, "config"],
      [{ ...SETTINGS, name: "other" }, token, 'trains "default"'],
      [{ ...SETTINGS, data: { text } }, token, "tokenizer"],
      [SETTINGS, await importToken(newNonce()), "token"],
    ];
    for (const [settings, token, expected] of strangers) {
      const promise = train(settings, { join: { url, token, memberId: "stranger" } });
      const { message } = await assertRejects(() => promise, UserError);
      assertStringIncludes(message, expected);
      assertEquals(message.split("\n").length, 1);
    }
    const second = train(SETTINGS, { join: { url, token, memberId: "second" } });
    for (const result of await Promise.all([first, second])) assertEquals(outcome(result), outcome(alone));
  });
  // the one with another run has asked before it introduced itself
  assertEquals(seen.filter((line) => line.startsWith("stranger is refused: ")).length, 2);
});

Deno.test("train() finds out before all else whether its group takes it", async () => {
  const unread: RunSettings = { ...SETTINGS, data: "no-such-text" };
  await inGroup(2, async ({ url }) => {
    const first = await ScriptedMember.join(url, 1, { run: "default" });
    const taken = Number(new URL(url).port);
    const other = await importToken(newNonce());
    const mistakes: [RunSettings, JoinOptions, string][] = [
      [
        unread,
        { url, token: other },
        `${url} refused the token, expected the one that its group has`,
      ],
      [{ ...unread, name: "other" }, { url, token }, `The group at ${url} trains "default", and this run is`],
      [unread, { url, token, listen: { port: taken } }, `127.0.0.1:${taken} is in use by another process`],
      [unread, { url, token, listen: { hostname: "0.0.0.0" } }, "0.0.0.0 says not how to reach this member"],
      [
        unread,
        { url: url.replace("ws:", "wss:"), token, listen: { url: "ws://10.0.0.7:7800" } },
        "The group is reached over wss, but this node at ws://10.0.0.7:7800",
      ],
      [unread, { url: "host:7777", token }, "host:7777 is no address of a server"],
      [unread, { url, token }, "no-such-text"], // nothing else is wrong
    ];
    for (const [settings, join, expected] of mistakes) {
      await assertRejects(() => train(settings, { join }), UserError, expected);
    }
    first.link.close();
  });
  // a coordinator that isn't there may come yet
  const messages: string[] = [];
  const join = { url: "ws://no-such-host.invalid:7777", token: await importToken(newNonce()) };
  const promise = train(unread, { join, onMessage: (text) => messages.push(text) });
  await assertRejects(() => promise, UserError, "no-such-text");
  assertEquals(messages, [
    `warning: ${join.url} cannot be reached: the name does not resolve to an address; check it; ` +
    "trying again when this node is ready",
  ]);
});

Deno.test("train() saves the run's end on one node where the one that kept the run has left", async () => {
  const alone = await trainAlone(SETTINGS);
  const folder = await Deno.makeTempDir();
  const fallbackFolder = join(folder, "run");
  try {
    for (const expected of [fallbackFolder, `${fallbackFolder}-b`]) {
      await inGroup(3, async ({ url }) => {
        const stop = new AbortController();
        const messages: string[] = [];
        const keeper = train(SETTINGS, {
          folder: join(folder, "keeper"),
          join: { url, token, memberId: "a" },
          signal: stop.signal,
          onProgress: ({ step }) => step === 3 ? stop.abort() : undefined,
        });
        const others = ["b", "c"].map((memberId) =>
          train(SETTINGS, {
            fallbackFolder,
            join: { url, token, memberId },
            onMessage: (text) => messages.push(text),
          })
        );
        const [b, c] = await Promise.all(others);
        assertEquals((await keeper).interrupted, true);
        for (const result of [b, c]) assertEquals(outcome(result), outcome(alone));
        assertEquals([b.folder, c.folder], [expected, null]);
        assertEquals(messages.filter((text) => text.includes("has saved its end in")).length, 1);
      });
      await Deno.remove(join(folder, "keeper"), { recursive: true });
      const again = await train(SETTINGS, { folder: expected });
      assertEquals([again.digest, again.validation], [alone.digest, alone.validation]);
      assertEquals(await again.files(), await alone.files());
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("train() saves what it has where its group sends it away", async () => {
  const folder = await Deno.makeTempDir();
  const settings: RunSettings = {
    ...SETTINGS,
    train: { batchSize: 7, microBatchSize: 1, duration: "100000 steps" },
    checkpoint: { every: "100000 steps", best: false },
  };
  try {
    await inGroup(1, async ({ url }) => {
      const run = join(folder, "run");
      const stop = new AbortController();
      let isAway = false;
      const place = { url, token, memberId: "one" };
      // prepares meanwhile, and comes when the first one is at work
      const openSocket = (url: string, protocol: string) =>
        new WebSocket(isAway ? url : "ws://127.0.0.1:1", protocol);
      const second = train(settings, { join: { ...place, openSocket }, signal: stop.signal });
      const messages: string[] = [];
      const first = train(settings, {
        folder: run,
        join: place,
        onProgress: ({ step }) => isAway ||= step === 3,
        onMessage: (text) => messages.push(text),
      });
      await assertRejects(() => first, UserError, "A later process has joined as one");
      const steps = await listCheckpoints(join(run, "checkpoints"));
      assertEquals(messages.at(-1), `The state after step ${steps.at(-1)} is saved in ${run}`);
      assert(steps.at(-1)! >= 3);
      stop.abort();
      await second.catch(() => {});
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("train() leaves a group at its signal, saves, and goes on alone to the same bits", async () => {
  const alone = await trainAlone(SETTINGS);
  const folder = await Deno.makeTempDir();
  try {
    await inGroup(1, async ({ url }) => {
      const stop = new AbortController();
      const result = await train(SETTINGS, {
        folder: join(folder, "run"),
        join: { url, token },
        signal: stop.signal,
        onProgress: ({ step }) => step === 3 ? stop.abort() : undefined,
      });
      assertEquals([result.interrupted, result.validation], [true, null]);
    });
    const rest = await train(SETTINGS, { folder: join(folder, "run") });
    assertEquals(outcome(rest), outcome(alone));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
