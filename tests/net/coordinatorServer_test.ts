import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { RetryError, UserError } from "../../src/errors.ts";
import { controlClaim, controlUrl, COORDINATOR_MESSAGES } from "../../src/net/control/control.ts";
import { ControlLink } from "../../src/net/control/controlLink.ts";
import type { CoordinatorMessage } from "../../src/net/control/messages.ts";
import { groupStatus } from "../../src/net/control/status.ts";
import { type Coordinator, runCoordinator } from "../../src/net/coordinator/coordinatorServer.ts";
import type { CoordinatorSettings } from "../../src/net/coordinator/types.ts";
import { importToken } from "../../src/net/link/auth.ts";
import { connect } from "../../src/net/link/connect.ts";
import { digestOf, hello } from "./coordinatorBench.ts";
import { inFolder } from "./groupFolder.ts";
import { ScriptedMember } from "./scriptedMember.ts";
import { token } from "./sockets.ts";

interface Running extends AsyncDisposable {
  readonly coordinator: Coordinator;
  readonly url: string;
  readonly log: string[];
  stop(): Promise<void>;
}

async function run(folder: string, changes: Partial<CoordinatorSettings> = {}): Promise<Running> {
  const settings = { minMembers: 1, waitMs: 0, heartbeatMs: 10_000, force: false, ...changes };
  const controller = new AbortController();
  const log: string[] = [];
  const { signal } = controller;
  const coordinator = await runCoordinator({
    folder,
    token,
    settings,
    signal,
    log: (level, text) => log.push(`${level}: ${text}`),
  });
  coordinator.ended.catch(() => {}); // a test may ask later
  const stop = async () => {
    controller.abort();
    await coordinator.ended;
  };
  const dispose = () => stop().catch(() => {});
  return { coordinator, url: coordinator.url, log, stop, [Symbol.asyncDispose]: dispose };
}

async function savedEpoch(folder: string): Promise<number> {
  return JSON.parse(await Deno.readTextFile(join(folder, "coordinator.json"))).group.epoch;
}

Deno.test("runCoordinator() forms an epoch, commits steps, and ends when the run has", () =>
  inFolder(async (folder) => {
    await using running = await run(folder, { minMembers: 2 });
    const { url, coordinator } = running;
    const first = await ScriptedMember.join(url, 1);
    assertEquals(
      (await first.hears("hold")).reason,
      "Waits for members: 1 of at least 2 are here",
    );
    const members = [first, await ScriptedMember.join(url, 2)];
    for (const member of members) {
      const { epoch, step, members } = await member.hears("epoch");
      assertEquals([epoch, step, members.map(({ id }) => id)], [1, 1, ["m1", "m2"]]);
      assertEquals(await savedEpoch(folder), 1);
    }
    for (const step of [1, 2]) {
      for (const member of members) member.ready(1, step);
      for (const member of members) {
        assertEquals(await member.hears("commit"), {
          type: "commit",
          epoch: 1,
          step,
          digest: digestOf(step),
        });
      }
    }
    const status = await groupStatus(url, token);
    assertEquals([status.run, status.phase, status.step], ["small", "training", 2]);
    assertEquals(
      status.members.map(({ id, role, share, lastSteps, waitMs }) => [id, role, share, lastSteps, waitMs]),
      [
        ["m1", "active", { from: 0, to: 4 }, 0, 0],
        ["m2", "active", { from: 4, to: 8 }, 2, 20],
      ],
    );
    assertEquals(coordinator.status().epoch, 1);
    for (const member of members) {
      member.link.send({ type: "leaving", finished: true });
      await member.hears("released");
    }
    await coordinator.ended;
    assertEquals(running.log.at(-1), "info: m2 leaves after step 2");
  }));

Deno.test("runCoordinator() goes on from its folder where another one was ended", () =>
  inFolder(async (folder) => {
    {
      await using running = await run(folder);
      const member = await ScriptedMember.join(running.url, 1);
      await member.hears("epoch");
      member.ready(1, 1);
      await member.hears("commit");
      member.ready(1, 2);
      await running.stop();
      assertEquals((await member.link.closed).by, "peer");
    }
    await using running = await run(folder);
    assertEquals(running.log, [
      'info: Goes on with run "small" after epoch 1; another run needs a folder of its own',
    ]);
    const state = { group: { epoch: 1, members: ["m1"] }, held: { epoch: 1, step: 2, digest: digestOf(2) } };
    const member = await ScriptedMember.join(running.url, 1, { appliedStep: 1, ...state });
    assertEquals(await member.hears("commit"), { type: "commit", epoch: 1, step: 2, digest: digestOf(2) });
    const { epoch, step } = await member.hears("epoch");
    assertEquals([epoch, step, await savedEpoch(folder)], [2, 3, 2]);
  }));

Deno.test("runCoordinator() lets a folder that everybody has left serve another run", () =>
  inFolder(async (folder) => {
    for (const [name, epoch] of [["first", 1], ["second", 2]] as const) {
      await using running = await run(folder);
      const member = await ScriptedMember.join(running.url, 1, { run: name });
      assertEquals((await member.hears("epoch")).epoch, epoch);
      member.link.send({ type: "leaving", finished: true });
      await member.hears("released");
      await running.coordinator.ended;
    }
    await using running = await run(folder);
    await ScriptedMember.join(running.url, 1, { run: "third" });
    await running.stop();
    await using next = await run(folder);
    const other = await ScriptedMember.dial(next.url, 2);
    other.hello({ run: "fourth" });
    assertEquals(
      (await other.hears("refused")).reason,
      'It is of run "fourth", this group trains "third"; join that run\'s group',
    );
  }));

Deno.test("runCoordinator() refuses a folder that another coordinator has, and frees it at its end", () =>
  inFolder(async (folder) => {
    await using first = await run(folder);
    await assertRejects(() => run(folder), UserError, "is in use by another coordinator");
    await first.stop();
    await using _second = await run(folder);
  }));

Deno.test("runCoordinator() turns strangers away and goes on", () =>
  inFolder(async (folder) => {
    await using running = await run(folder);
    const { url, log } = running;
    const other = await importToken("another token of these tests");
    await assertRejects(
      () => groupStatus(url, other),
      UserError,
      "refused the token, expected the one that its group has",
    );
    assertEquals(log, ["warn: Somebody at 127.0.0.1 was turned away: wrong token"]);
    const dial = { url: controlUrl(url), token, claim: { ...controlClaim("member", "m1"), role: "thief" } };
    const { message } = await assertRejects(() => connect(dial), UserError);
    assertEquals(
      message,
      `${dial.url} refused m1 as thief; the token, the run or the role differ, and the log over there says which`,
    );
    assertEquals((await groupStatus(`${url}/`, token)).members, []);
  }));

Deno.test("runCoordinator() closes links on which somebody says what is not theirs to say", () =>
  inFolder(async (folder) => {
    await using running = await run(folder);
    const { url, log } = running;
    const heartbeat = {
      type: "heartbeat",
      epoch: 0,
      step: 0,
      tokensPerSecond: 0,
      exposedShare: 0,
      computed: 0,
    } as const;
    const said = (log: readonly string[], id: string) => {
      const start = `warn: ${id} is refused: `;
      return log.findLast((line) => line.startsWith(start))?.slice(start.length) ?? "";
    };
    const cases = [
      ["watcher", "w", heartbeat, "heartbeat from a watcher"],
      ["member", "m1", hello(2), "hello of m2 from m1"],
      [
        "member",
        "m1",
        { ...hello(1), protocol: 7 },
        "message: It has version 0.1.0 and speaks protocol 7, this coo",
      ],
      [
        "member",
        "m1",
        { ...hello(1), url: "file:///etc" },
        "message: A control message is not as expected at url",
      ],
    ] as const;
    for (const [role, id, message, detail] of cases) {
      const channel = await connect({ url: controlUrl(url), token, claim: controlClaim(role, id) });
      const heard: CoordinatorMessage[] = [];
      const onMessage = (message: CoordinatorMessage) => void heard.push(message);
      const link = new ControlLink(channel, { schema: COORDINATOR_MESSAGES, onMessage });
      link.send(message);
      const reason = await link.closed;
      // who speaks another version would only come again
      const words = heard.map((message) => message.type === "refused" ? message.reason : message.type);
      assertEquals(words, detail.includes("protocol 7") ? [said(log, id)] : []);
      assertEquals([reason.kind, reason.by, reason.detail.slice(0, detail.length)], [
        "fault",
        "peer",
        detail,
      ]);
      assertStringIncludes(log.at(-1) ?? "", `warn: Link of ${id}: we closed as fault: ${detail}`);
    }
    assertEquals((await groupStatus(url, token)).members, []);
  }));

Deno.test("runCoordinator() tells the others when a member's connection ends, and when one is silent", () =>
  inFolder(async (folder) => {
    await using running = await run(folder, { minMembers: 3, heartbeatMs: 200 });
    const members = await Promise.all([1, 2, 3].map((index) => ScriptedMember.join(running.url, index)));
    const [first, second, third] = members;
    for (const member of members) {
      member.beat(50);
      assertEquals((await member.hears("epoch")).epoch, 1);
    }
    third.link.close();
    const losses = [
      "m3 is lost: its connection has ended; step 1 is begun again",
      "m2 is lost: it was silent for 0.6 s; step 2 is begun again",
    ];
    for (const member of [first, second]) {
      assertEquals((await member.hears("abort")).reason, losses[0]);
      member.hello({ group: { epoch: 1, members: ["m1", "m2", "m3"] } });
    }
    for (const member of [first, second]) {
      const { epoch, members } = await member.hears("epoch");
      assertEquals([epoch, members.map(({ id }) => id)], [2, ["m1", "m2"]]);
      member.ready(2, 1);
    }
    await first.hears("commit");
    second.beat(1e6); // never, as far as this test goes
    assertEquals((await first.hears("abort")).reason, losses[1]);
    first.hello({ group: { epoch: 2, members: ["m1", "m2"] }, appliedStep: 1 });
    const { epoch, step, members: left } = await first.hears("epoch");
    assertEquals([epoch, step, left.map(({ id }) => id)], [3, 2, ["m1"]]);
    const lost = running.log.filter((line) => line.includes(" is lost: "));
    assertEquals(lost, losses.map((text) => `warn: ${text}`));
  }));

Deno.test("runCoordinator() uses no epoch that it can't write, and ends", () =>
  inFolder(async (folder) => {
    await using running = await run(folder);
    await Deno.rename(join(folder, "coordinator.lock"), join(folder, "moved"));
    const member = await ScriptedMember.join(running.url, 1);
    const error = await assertRejects(() => running.coordinator.ended, RetryError);
    assertMatch(error.message, /another file than was locked: another coordinator may have taken over/);
    await assertRejects(() => member.hears("epoch"), Error, "has closed before epoch");
  }));

Deno.test("runCoordinator() ends with the reason where nothing can go on", () =>
  inFolder(async (folder) => {
    await using running = await run(folder, { minMembers: 2 });
    const members = await Promise.all([1, 2].map((index) => ScriptedMember.join(running.url, index)));
    for (const member of members) await member.hears("epoch");
    members[0].ready(1, 1, digestOf(1, 1));
    members[1].ready(1, 1, digestOf(1, 2));
    for (const member of members) assertMatch((await member.hears("refused")).reason, /m1 against m2/);
    await assertRejects(() => running.coordinator.ended, UserError, "Members disagree on step 1");
  }));

Deno.test("groupStatus() tells who can't be asked", async () => {
  await assertRejects(() => groupStatus("ws://127.0.0.1:1", token), RetryError, "cannot be reached");
  await assertRejects(() => groupStatus("7777", token), UserError, "7777 is no address");
});
