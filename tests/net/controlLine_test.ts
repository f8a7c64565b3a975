import { assert, assertEquals, assertMatch } from "@std/assert";
import { CONTROL_PATH, CONTROL_ROLES, CONTROL_RUN, COORDINATOR_ID } from "../../src/net/control.ts";
import { ControlLine } from "../../src/net/controlLine.ts";
import { Gate } from "../../src/net/gate.ts";
import { listen } from "../../src/net/listenServer.ts";
import { token } from "./sockets.ts";

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
    assertMatch(warnings[1], /^The coordinator is back after \d+\.\d s$/);
  } finally {
    globalThis.setTimeout = setTimeout;
    line.close();
    await line.ended;
    await server.close();
  }
});
