import type { GroupStatus } from "../src/net/control/messages.ts";
import { formatCount, formatInteger, formatShortTime } from "./_format.ts";

type Member = GroupStatus["members"][number];

/** A group as lines for people: how it is, who is in, and for whom the others wait. */
export function describeGroup(status: GroupStatus): string[] {
  const { run, phase, reason, epoch, step, members } = status;
  // Each tells at which rate the whole group does its steps, as of its own last one.
  const rates = members.filter(({ role }) => role === "active").map((member) => member.tokensPerSecond);
  const head = [
    run === null ? "No run yet" : `Run ${run}`,
    phase,
    `epoch ${epoch}`,
    `${formatInteger(step)} steps done`,
    `${formatCount(Math.max(0, ...rates))} tokens/s`,
  ];
  const slowest = describeSlowest(members);
  return [
    head.join(", "),
    ...(reason === null ? [] : [reason]),
    ...(members.length === 0 ? ["Nobody is here"] : alignColumns([HEADINGS, ...members.map(rowOf)])),
    ...(slowest === null ? [] : [slowest]),
    ...(members.some(({ role }) => role === "active")
      ? ["Exposed: of a step, the exchange of gradients while nothing is computed"]
      : []),
    ...members.filter(({ asideMs }) => asideMs !== null).map(describeAside),
    ...(members.some(({ role }) => role === "warm") ? ["Warm: has the group's state, and may step in"] : []),
  ];
}

/** The member that held the others up most in this epoch, its part of all the waiting, and why; null: nobody waited. */
export function describeSlowest(members: readonly Member[]): string | null {
  const total = members.reduce((sum, { waitMs }) => sum + waitMs, 0);
  if (total === 0) return null;
  const slowest = members.reduce((most, member) => (member.waitMs > most.waitMs ? member : most));
  const { id, waitMs, lastSteps } = slowest;
  const part = Math.round(100 * waitMs / total);
  return `Slowest: ${id}, last in ${formatInteger(lastSteps)} steps of this epoch; the others waited ` +
    `${formatShortTime(waitMs)} for it, ${part}% of all waiting: ${explainSlowness(slowest, members)}`;
}

function explainSlowness(slowest: Member, members: readonly Member[]): string {
  if (2 * slowest.linkMs > slowest.waitMs) {
    return "its link is slow: what it sends or gets comes late, its own work doesn't";
  }
  const others = members.filter((member) => member !== slowest && member.share !== null);
  const [own, least] = [sizeOf(slowest), Math.min(...others.map(sizeOf))];
  if (own > least) return `it has ${own} virtual workers, others only ${least}`;
  if (others.length === 0) return "the others have left since";
  return "it computes more slowly, with no more virtual workers than others";
}

const HEADINGS = ["member", "role", "workers", "step", "at work", "exposed", "waited for", "heard"];

function rowOf(member: Member): string[] {
  const { id, role, share, step, atWorkMs, exposedShare, lastSteps, waitMs, silentMs, asideMs } = member;
  return [
    id,
    asideMs === null ? role : `aside, ${role}`,
    describeShare(share),
    formatInteger(step),
    atWorkMs === null ? "no" : formatShortTime(atWorkMs),
    `${(100 * exposedShare).toFixed(1)}%`,
    describeWait(lastSteps, waitMs),
    `${formatShortTime(silentMs)} ago`,
  ];
}

function describeWait(steps: number, ms: number): string {
  if (ms === 0) return "never";
  return formatShortTime(ms) + (steps === 0 ? "" : ` in ${formatInteger(steps)} steps`);
}

function describeShare(share: Member["share"]): string {
  if (share === null) return "none";
  const last = share.to - 1;
  return share.from === last ? `${last}` : `${share.from} to ${last}`;
}

function describeAside({ id, asideMs }: Member): string {
  return `${id} stands aside for ${
    formatShortTime(asideMs ?? 0)
  } more: it and others failed each other, see the coordinator's lines`;
}

function sizeOf({ share }: Member): number {
  return share === null ? 0 : share.to - share.from;
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd());
}
