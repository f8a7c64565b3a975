import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  coordinate,
  type Group,
  type GroupOptions,
  importToken,
  joinGroup,
  OwnServer,
  UserError,
} from "../../mod.ts";
import type { ArraySums } from "../../mod.ts";
import { counterTreeSum, hardVector, sameBits } from "../net/support.ts";

const token = await importToken("a token of these tests");
const VIRTUAL_WORKERS = 6;
const ARRAYS = { weights: 5000, counts: 3 };
type Names = typeof ARRAYS;

interface Place {
  readonly url: string;
  /** What the coordinator has said. */
  readonly lines: readonly string[];
  join(options?: Partial<GroupOptions<Names>>): Promise<Group<Names>>;
}

/** A coordinator that waits for so many members, and closes all of them in the end. */
async function inGroup(minMembers: number, test: (place: Place) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const stop = new AbortController();
  const lines: string[] = [];
  const coordinator = await coordinate({
    ...{ folder, token, minMembers, waitMs: 0, heartbeatMs: 10_000, signal: stop.signal },
    log: (_, text) => lines.push(text),
  });
  const groups: Group<Names>[] = [];
  const { url } = coordinator;
  const join = async (options: Partial<GroupOptions<Names>> = {}) => {
    const common = { url, token, name: "sums", virtualWorkers: VIRTUAL_WORKERS, arrays: ARRAYS };
    const group = await joinGroup<Names>({ ...common, ...options });
    groups.push(group);
    return group;
  };
  try {
    await test({ url, lines, join });
  } finally {
    await Promise.all(groups.map((group) => group.close()));
    stop.abort();
    await coordinator.ended;
    await Deno.remove(folder, { recursive: true });
  }
}

const weightsOf = (step: number, worker: number) => hardVector(ARRAYS.weights, 100 * step + worker);

/** A virtual worker's part of a sum. */
const fill: Parameters<Group<Names>["allReduce"]>[0] = ({ weights, counts }, { worker, step }) => {
  weights.set(weightsOf(step, worker));
  counts.set([1, worker, step]);
};

function assertSum({ step, arrays }: ArraySums<Names>): void {
  const workers = Array.from({ length: VIRTUAL_WORKERS }, (_, worker) => weightsOf(step, worker));
  assert(sameBits(arrays.weights, counterTreeSum(workers)), "other bits than one process alone");
  assertEquals([...arrays.counts], [6, 15, 6 * step]);
}

Deno.test("Group.allReduce() gives the bits of one process to any number of members", async () => {
  const digests = new Set<string>();
  const sumUp = async (group: Group<Names>) => {
    for (let step = 1; step <= 3; step++) {
      const sums = await group.allReduce(fill);
      assertEquals(sums.step, step);
      assertSum(sums);
      digests.add(sums.digest);
    }
  };
  for (const members of [1, 2, 3, 5]) {
    await inGroup(members, async ({ join }) => {
      const groups = await Promise.all(Array.from({ length: members }, () => join()));
      await Promise.all(groups.map(sumUp));
    });
  }
  assertEquals(digests.size, 3);
});

Deno.test("Group.allReduce() goes on when a member leaves in the middle, and brings a newcomer along", async () => {
  await inGroup(2, async ({ join }) => {
    /** Keeps the number of sums. */
    const service = async () => {
      let kept = new Uint8Array([0]);
      let isLoaded = false;
      const group = await join({
        state: {
          save: () => kept,
          load: (state) => {
            kept = state;
            isLoaded = true;
          },
        },
      });
      const next = async () => {
        const sums = await group.allReduce(fill);
        assertSum(sums);
        assertEquals(kept[0], sums.step - 1, "a sum was left out or came twice");
        kept = new Uint8Array([sums.step]);
        return sums.step;
      };
      return { group, next, isLoaded: () => isLoaded };
    };
    const [first, second] = await Promise.all([service(), service()]);
    assertEquals(await Promise.all([first.next(), second.next()]), [1, 1]);

    const waiting = first.next();
    await second.group.close(); // the first one waits for its part of the second sum
    await assertRejects(() => second.next(), Error, "has left the group");
    assertEquals(await waiting, 2);

    const third = await service();
    let last = Infinity;
    const follow = async () => {
      last = await third.next() + 3;
      assert(third.isLoaded());
      while (await third.next() < last);
    };
    const lead = async () => {
      while (await first.next() < last);
    };
    await Promise.all([lead(), follow()]);
  });
});

Deno.test("joinGroup() over the caller's own server, whoever upgrades the requests", async () => {
  await inGroup(2, async ({ join }) => {
    /** A server with a page beside the group; either the library upgrades, or the server itself. */
    const serve = (isOurs: boolean) => {
      const answer = (request: Request, { remoteAddr }: Deno.ServeHandlerInfo<Deno.NetAddr>) => {
        if (new URL(request.url).pathname !== "/group/data") return new Response("page");
        if (!isOurs) return own.answer(request, remoteAddr);
        const [ticket, origin] = ["sec-websocket-protocol", "origin"].map((name) =>
          request.headers.get(name)
        );
        const { socket, response } = Deno.upgradeWebSocket(request, { protocol: ticket ?? undefined });
        own.accept(socket, { address: remoteAddr.hostname, origin, ticket });
        return response;
      };
      const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
      const own: OwnServer = new OwnServer(`ws://127.0.0.1:${server.addr.port}/group`);
      return { own, server, page: `http://127.0.0.1:${server.addr.port}/` };
    };
    const servers = [serve(false), serve(true)];
    const headers = { upgrade: "websocket", connection: "upgrade" };
    const early = await servers[0].own.answer(
      new Request(`${servers[0].page}group/data`, { headers }),
      servers[0].server.addr,
    );
    assertEquals(early.status, 503);
    const messages: string[] = [];
    const groups = await Promise.all(
      servers.map(({ own }) => join({ listen: own, onMessage: (text) => messages.push(text) })),
    );
    for (const sums of await Promise.all(groups.map((group) => group.allReduce(fill)))) assertSum(sums);
    for (const { page } of servers) assertEquals(await (await fetch(page)).text(), "page");

    // Strangers are let in at neither, and the group goes on.
    for (const { own } of servers) {
      for (const protocol of ["bloomery.x", ""]) {
        const socket = protocol === ""
          ? new WebSocket(`${own.url}/data`)
          : new WebSocket(`${own.url}/data`, protocol);
        await new Promise((resolve) => socket.onclose = resolve);
      }
    }
    assertEquals(messages.filter((text) => text.includes("was turned away: wrong token")).length, 4);
    for (const sums of await Promise.all(groups.map((group) => group.allReduce(fill)))) assertSum(sums);
    await assertRejects(() => join({ listen: servers[0].own }), UserError, "is a node's already");
    await Promise.all(groups.map((group) => group.close()));
    for (const { server } of servers) await server.shutdown();
  });
});

Deno.test("joinGroup() refuses members that sum other arrays, and mistakes, in one line", async () => {
  await inGroup(1, async ({ url, lines, join }) => {
    const group = await join();
    assertSum(await group.allReduce(fill));
    const other = { url, token, name: "sums", virtualWorkers: VIRTUAL_WORKERS, memberId: "stranger" };
    const strangers: [Promise<Group<{ a: number }>>, string][] = [
      [joinGroup({ ...other, arrays: { a: 1 } }), "config"],
      [joinGroup({ ...other, arrays: { a: 1 }, name: "others" }), 'trains "sums"'],
      [joinGroup({ ...other, arrays: { a: 1 }, virtualWorkers: 2 }), "virtual workers"],
    ];
    for (const [stranger, expected] of strangers) {
      await using refused = await stranger;
      const { message } = await assertRejects(() => refused.allReduce(() => {}), UserError);
      assertStringIncludes(message, expected);
      assertEquals(message.split("\n").length, 1);
    }
    assertEquals(lines.filter((line) => line.startsWith("stranger is refused: ")).length, 3);
    assertSum(await group.allReduce(fill));
    for (const arrays of [{}, { a: 0 }, { a: 1.5 }] as Record<string, number>[]) {
      await assertRejects(() => joinGroup({ ...other, arrays }), UserError, "expected");
    }
  });
});

Deno.test("joinGroup() rejects for what no coordinator would understand, and for a port that is taken", async () => {
  await inGroup(1, async ({ join, lines, url }) => {
    const port = Number(new URL(url).port);
    const mistakes: [Partial<GroupOptions<Names>>, string][] = [
      [{ virtualWorkers: 0 }, "virtualWorkers is 0, expected a whole number from 1 to 65536"],
      [{ virtualWorkers: 1.5 }, "virtualWorkers is 1.5, expected"],
      [{ virtualWorkers: NaN }, "virtualWorkers is NaN, expected"],
      [{ virtualWorkers: 65537 }, "virtualWorkers is 65537, expected"],
      [{ name: "" }, 'name is "", expected 1 to 128'],
      [{ name: "two\nlines" }, 'name is "two\\nlines", expected 1 to 128'],
      [{ memberId: "" }, 'memberId is "", expected 1 to 64 letters'],
      [{ memberId: "node 1" }, 'memberId is "node 1", expected 1 to 64 letters'],
      [{ listen: { url: "http://host" } }, 'listen.url is "http://host", expected ws://host:port'],
      [{ url: "host:7777" }, "host:7777 is no address of a server, expected ws://host:port"],
      [{ start: { step: -1, digest: "c0ffee00" } }, "start.step is -1, expected a whole number from 0"],
      [{ start: { step: 1, digest: "?" } }, 'start.digest is "?", expected that of a sum'],
      [{ listen: { hostname: "0.0.0.0" } }, "says not how to reach this member"],
      [{ listen: { port } }, "in use"],
    ];
    for (const [options, expected] of mistakes) {
      const { message } = await assertRejects(() => join(options), UserError);
      assertStringIncludes(message, expected);
    }
    assertEquals(lines, []);
  });
});

Deno.test("a member whose part is not finite, or can't be made, ends by itself, and the others go on", async () => {
  await inGroup(3, async ({ join }) => {
    const [first, poisoned, broken] = await Promise.all([join(), join(), join()]);
    const sums = first.allReduce(fill);
    await Promise.all([
      assertRejects(
        () => poisoned.allReduce(({ counts }) => void (counts[1] = NaN)),
        UserError,
        "counts[1] is NaN in this member's part of sum 1",
      ),
      assertRejects(
        () =>
          broken.allReduce(() => {
            throw new Error("no data");
          }),
        Error,
        "no data",
      ),
    ]);
    await assertRejects(() => broken.allReduce(fill), Error, "no data");
    assertSum(await sums);
  });
});

Deno.test("a sum of finite parts that overflows ends all members with an error, and none is sent away", async () => {
  await inGroup(3, async ({ join, lines }) => {
    const groups = await Promise.all([join(), join(), join()]);
    for (const sums of await Promise.all(groups.map((group) => group.allReduce(fill)))) assertSum(sums);
    const overflow: typeof fill = ({ counts }, { worker }) => {
      if (worker === 0 || worker === VIRTUAL_WORKERS - 1) counts[1] = 3e38;
    };
    const messages = await Promise.all(groups.map(async (group) => {
      const { message } = await assertRejects(() => group.allReduce(overflow), UserError);
      return message;
    }));
    const last = messages.filter((text) => text === "counts[1] is Infinity in this member's part of sum 2");
    const others = messages.filter((text) =>
      text.startsWith(
        "A sum of finite values overflows float32 at counts[1] in step 2; make what is added",
      )
    );
    assertEquals([others.length, last.length], [2, 1], messages.join("\n"));
    assertEquals(lines.filter((line) => line.includes("stands aside")), []);
  });
});

Deno.test("Group.allReduce() rejects with the signal's reason, and takes one call at a time", async () => {
  await inGroup(2, async ({ join }) => {
    const stop = new AbortController();
    const group = await join({ signal: stop.signal });
    const waiting = group.allReduce(fill);
    await assertRejects(() => group.allReduce(fill), Error, "one sum at a time");
    stop.abort(new Error("enough"));
    await assertRejects(() => waiting, Error, "enough");
    await group.close();
    const late = await join({ signal: stop.signal });
    await assertRejects(() => late.allReduce(fill), Error, "enough");
  });
});
