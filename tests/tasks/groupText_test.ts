import { assertEquals, assertMatch } from "@std/assert";
import type { GroupStatus } from "../../src/net/control/messages.ts";
import { describeGroup, describeSlowest } from "../../tasks/_groupText.ts";

type Member = GroupStatus["members"][number];

function member(id: string, from: number, to: number, changes: Partial<Member> = {}): Member {
  return {
    id,
    role: "active",
    share: { from, to },
    step: 1234,
    silentMs: 250,
    tokensPerSecond: 12_345,
    exposedShare: 0.0625,
    lastSteps: 0,
    waitMs: 0,
    linkMs: 0,
    atWorkMs: null,
    asideMs: null,
    ...changes,
  };
}

const GROUP: GroupStatus = {
  type: "status",
  run: "small",
  phase: "training",
  reason: null,
  epoch: 7,
  step: 1234,
  members: [
    member("m1", 0, 3),
    member("m2", 3, 4, { lastSteps: 1100, waitMs: 8700, atWorkMs: 1500 }),
    member("node-3", 4, 8, { lastSteps: 21, waitMs: 1300 }),
    member("m4", 0, 0, { role: "following", share: null, step: 1200, tokensPerSecond: 0, exposedShare: 0 }),
  ],
};

Deno.test("describeGroup() shows a group as a table", () => {
  assertEquals(describeGroup(GROUP), [
    "Run small, training, epoch 7, 1,234 steps done, 12.3k tokens/s",
    "member  role       workers  step   at work  exposed  waited for             heard",
    "m1      active     0 to 2   1,234  no       6.3%     never                  250 ms ago",
    "m2      active     3        1,234  1.50 s   6.3%     8.70 s in 1,100 steps  250 ms ago",
    "node-3  active     4 to 7   1,234  no       6.3%     1.30 s in 21 steps     250 ms ago",
    "m4      following  none     1,200  no       0.0%     never                  250 ms ago",
    "Slowest: m2, last in 1,100 steps of this epoch; the others waited 8.70 s for it, 87% of all waiting: " +
    "it computes more slowly, with no more virtual workers than others",
    "Exposed: of a step, the exchange of gradients while nothing is computed",
  ]);
  const warm = { ...GROUP, members: [member("m1", 0, 8), member("m2", 0, 0, { role: "warm", share: null })] };
  assertEquals(describeGroup(warm).at(-1), "Warm: has the group's state, and may step in");
  const aside = member("m2", 0, 0, { role: "following", share: null, asideMs: 90_000 });
  const lines = describeGroup({ ...GROUP, members: [member("m1", 0, 8), aside] });
  assertMatch(lines[3], /^m2 +aside, following +none /);
  assertMatch(lines.at(-1) ?? "", /^m2 stands aside for \S.* more: /);
});

Deno.test("describeGroup() says why a group waits, and that nobody is here", () => {
  const status: GroupStatus = {
    ...GROUP,
    run: null,
    phase: "gathering",
    reason: "Waits for members: 0 of at least 2 are here",
    members: [],
  };
  assertEquals(describeGroup(status), [
    "No run yet, gathering, epoch 7, 1,234 steps done, 0 tokens/s",
    "Waits for members: 0 of at least 2 are here",
    "Nobody is here",
  ]);
  const idle = member("m1", 0, 0, { role: "idle", share: null });
  assertMatch(describeGroup({ ...status, members: [idle] }).at(-1) ?? "", /^m1 +idle /);
});

Deno.test("describeSlowest() looks at the shares, and says nothing where nobody waited", () => {
  assertEquals(describeSlowest([member("m1", 0, 4), member("m2", 4, 8)]), null);
  assertEquals(describeSlowest([]), null);
  assertEquals(
    describeSlowest([member("m1", 0, 3), member("m2", 3, 8, { lastSteps: 2, waitMs: 30 })]),
    "Slowest: m2, last in 2 steps of this epoch; the others waited 30 ms for it, 100% of all waiting: " +
      "it has 5 virtual workers, others only 3",
  );
  assertMatch(
    describeSlowest([member("m1", 0, 3), member("m2", 3, 8, { lastSteps: 2, waitMs: 30, linkMs: 20 })]) ?? "",
    /: its link is slow: what it sends or gets comes late, its own work doesn't$/,
  );
});
