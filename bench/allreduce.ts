/**
 * `deno task bench allreduce`: busbw of an allreduce over loopback, beside bare WebSockets that carry the same frames
 * between the same processes without arithmetic, in the same run; and beside PyTorch's gloo where that is installed.
 */

import type { NodeArguments, NodeResult } from "./_allreduceNode.ts";
import type { Report } from "./_report.ts";
import { spawnGroup } from "./_spawnGroup.ts";
import { findGloo, timeGloo } from "./peers/gloo.ts";

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
  const gloo = await findGloo();
  for (const members of MEMBERS.filter((count) => count <= mostMembers)) {
    // Another program can't take turns with ours: once before and once after, and the better one counts.
    const runGloo = () => gloo === null ? new Map<number, number>() : timeGloo(members, sizes);
    const before = await runGloo();
    const ours = new Map<number, number>();
    await spawnGroup<NodeResult>(
      NODE,
      Array.from({ length: members }, (_, self): NodeArguments => ({ self, members, sizes })),
      (result) => {
        ours.set(result.bytes, result.ours);
        tell(report, members, result);
      },
    );
    const after = await runGloo();
    for (const [bytes, milliseconds] of ours) {
      const times = [before, after].flatMap((run) => run.get(bytes) ?? []);
      if (gloo === null || times.length === 0) continue;
      const best = Math.min(...times);
      report({
        ...{
          bench: "allreduce",
          case: nameOf(members, bytes),
          value: busbw(members, bytes, best),
          unit: "GB/s",
        },
        ...{
          peer: gloo,
          ratio: best / milliseconds,
          note: `${times.map((time) => time.toFixed(2)).join(" and ")} ms`,
        },
      });
    }
  }
  if (gloo === null) {
    console.error("PyTorch's gloo was not found (python3, or the one that BLOOMERY_PYTHON names)");
  }
}

function nameOf(members: number, bytes: number): string {
  return `${members} members, ${bytes < 1 << 20 ? `${bytes >> 10} KiB` : `${bytes >> 20} MiB`}`;
}

function busbw(members: number, bytes: number, milliseconds: number): number {
  return 2 * (members - 1) / members * bytes / milliseconds / 1e6;
}

function tell(
  report: Report,
  members: number,
  { bytes, ours, raw, roundTrip, quietRoundTrip }: NodeResult,
): void {
  const bench = "allreduce";
  const name = nameOf(members, bytes);
  report({
    bench,
    case: name,
    value: busbw(members, bytes, ours),
    unit: "GB/s",
    note: `${ours.toFixed(2)} ms`,
  });
  report({
    bench,
    case: name,
    value: busbw(members, bytes, raw),
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
