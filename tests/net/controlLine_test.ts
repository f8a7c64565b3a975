import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { CONTROL_PATH, CONTROL_ROLES, COORDINATOR_ID } from "../../src/net/control/control.ts";
import { ControlLine } from "../../src/net/control/controlLine.ts";
import { CONTROL_RUN, importToken } from "../../src/net/link/auth.ts";
import type { Channel } from "../../src/net/link/channel.ts";
import { type Door, Gate } from "../../src/net/link/gate.ts";
import { listen } from "../../src/net/link/listenServer.ts";
import { token } from "./sockets.ts";

Deno.test("ControlLine ends where its coordinator refuses it at first, and holds where another one does later", async () => {
  const door = { token, run: CONTROL_RUN, roles: CONTROL_ROLES, id: COORDINATOR_ID };
  const arrived: Channel[] = [];
  const enter = (channel: Channel) => void arrived.push(channel);
  const serve = (door: Door) => listen(new Gate({ doors: { [CONTROL_PATH]: door }, log: () => {} }));
  const right = serve({ ...door, enter });
  const wrong = serve({ ...door, enter, token: await importToken("another token of these tests") });
  let [place, onLinked] = [wrong.url, () => {}];
  const log: string[] = [];
  let onLog = () => {};
  const newLine = () =>
    new ControlLine({
      ...{ coordinator: right.url, token, memberId: "a", epoch: () => 0 },
      open: (_, protocol) => new WebSocket(place + CONTROL_PATH, protocol),
      onLinked: () => onLinked(),
      onMessage: () => {},
      onUnlinked: () => {},
      log: (level, text) => {
        log.push(`${level}: ${text}`);
        onLog();
      },
    });
  const linked = () => new Promise<void>((resolve) => onLinked = resolve);
  const said = (part: string) =>
    new Promise<void>((resolve) => onLog = () => log.some((line) => line.includes(part)) && resolve());
  await assertRejects(() => newLine().ended, UserError, "refused the token");

  place = right.url;
  const isLinked = linked();
  const line = newLine();
  await isLinked;
  const isHolding = said("keeps trying");
  place = wrong.url;
  while (arrived.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  arrived[0].close();
  await isHolding;
  assertMatch(
    log.at(-1) ?? "",
    /^warn: .* refused the token, .*; this node holds what it has, and keeps trying$/,
  );
  const isLinkedAgain = linked();
  place = right.url;
  await isLinkedAgain;
  line.close();
  await line.ended;
  await Promise.all([right.close(), wrong.close()]);
});

Deno.test("ControlLine waits longer and longer before it dials a coordinator that finds fault with it", async () => {
  const waits: number[] = [];
  const { setTimeout } = globalThis;
  globalThis.setTimeout = ((task: () => void, ms: number) => {
    waits.push(ms);
    return setTimeout(task, ms);
  }) as typeof setTimeout;
  const isDone = Promise.withResolvers<void>();
  let numLinks = 0;
  const door = {
    ...{ token, run: CONTROL_RUN, roles: CONTROL_ROLES, id: COORDINATOR_ID },
    enter: (channel: { close(kind: "fault", detail: string): void }) => {
      if (++numLinks === 4) isDone.resolve();
      channel.close("fault", "no hello");
    },
  };
  const server = listen(new Gate({ doors: { [CONTROL_PATH]: door }, log: () => {} }));
  const warnings: string[] = [];
  const line = new ControlLine({
    ...{ coordinator: server.url, token, memberId: "a", epoch: () => 0 },
    onLinked: () => {},
    onMessage: () => {},
    onUnlinked: () => {},
    log: (_, text) => warnings.push(text),
  });
  try {
    await isDone.promise;
    for (const most of [100, 200, 400]) {
      assert(waits.some((ms) => ms >= most / 2 && ms <= most), `${most} ms at most: ${waits.join(", ")}`);
    }
    const lost =
      "The coordinator is lost: peer closed as fault: no hello; this node holds what it has, and looks for it";
    assertEquals(warnings.filter((line) => line === lost).length >= 3, true, warnings.join("\n"));
    assertEquals(warnings.filter((line) => line.includes("is back")), []); // it has no welcome for this node
  } finally {
    globalThis.setTimeout = setTimeout;
    line.close();
    await line.ended;
    await server.close();
  }
});
