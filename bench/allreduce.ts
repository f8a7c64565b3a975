/**
 * `deno task bench allreduce`: busbw of an allreduce over loopback, beside bare WebSockets that carry the same frames
 * between the same processes without arithmetic, in the same run.
 */

import type { NodeArguments, NodeResult } from "./_allreduceNode.ts";
import type { Report } from "./_report.ts";
import { spawnGroup } from "./_spawnGroup.ts";

const MEMBERS = [2, 4, 8];
const SIZES = [4 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20];
const NODE = new URL("./_allreduceNode.ts", import.meta.url);

/** @param limit leaves out more members and larger arrays */
export async function benchAllreduce(
  report: Report,
  limit: { members?: number; bytes?: number } = {},
): Promise<void> {
  const { members: mostMembers = Infinity, bytes: mostBytes = Infinity } = limit;
  const sizes = SIZES.filter((bytes) => bytes <= mostBytes);
  for (const members of MEMBERS.filter((count) => count <= mostMembers)) {
    await spawnGroup<NodeResult>(
      NODE,
      Array.from({ length: members }, (_, self): NodeArguments => ({ self, members, sizes })),
      (result) => tell(report, members, result),
    );
  }
}

function tell(
  report: Report,
  members: number,
  { bytes, ours, raw, roundTrip, quietRoundTrip }: NodeResult,
): void {
  const bench = "allreduce";
  const size = bytes < 1 << 20 ? `${bytes >> 10} KiB` : `${bytes >> 20} MiB`;
  const name = `${members} members, ${size}`;
  const busbw = (milliseconds: number) => 2 * (members - 1) / members * bytes / milliseconds / 1e6;
  report({ bench, case: name, value: busbw(ours), unit: "GB/s", note: `${ours.toFixed(2)} ms` });
  report({
    bench,
    case: name,
    value: busbw(raw),
    unit: "GB/s",
    peer: "bare WebSockets",
    ratio: raw / ours,
    note: `${raw.toFixed(2)} ms`,
  });
  if (bytes > 4 << 10) return;
  report({ bench, case: `${name}, latency`, value: ours * 1000, unit: "µs" });
  for (
    const [time, peer] of [
      [roundTrip, "a bare round trip of all pairs at once"],
      [quietRoundTrip, "a bare round trip of two, the others quiet"],
    ] as const
  ) {
    const note = `${(ours / time).toFixed(2)} round trips`;
    report({
      bench,
      case: `${name}, latency`,
      value: time * 1000,
      unit: "µs",
      peer,
      ratio: time / ours,
      note,
    });
  }
}
