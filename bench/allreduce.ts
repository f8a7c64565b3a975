/**
 * `deno task bench allreduce`: busbw of an allreduce over loopback, beside bare WebSockets that carry the same frames
 * between the same processes without arithmetic, in the same run.
 */

import { fromFileUrl } from "@std/path";
import type { NodeArguments, NodeResult } from "./_allreduceNode.ts";
import type { Report } from "./_report.ts";

const MEMBERS = [2, 4, 8];
const SIZES = [4 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20];
const NODE = fromFileUrl(new URL("./_allreduceNode.ts", import.meta.url));
const CONFIG = fromFileUrl(new URL("./deno.json", import.meta.url));

/** @param limit leaves out more members and larger arrays */
export async function benchAllreduce(
  report: Report,
  limit: { members?: number; bytes?: number } = {},
): Promise<void> {
  const { members: mostMembers = Infinity, bytes: mostBytes = Infinity } = limit;
  for (const members of MEMBERS.filter((count) => count <= mostMembers)) {
    await runGroup(
      members,
      SIZES.filter((bytes) => bytes <= mostBytes),
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

/** Runs the processes of a group to their end. */
async function runGroup(
  members: number,
  sizes: readonly number[],
  tell: (result: NodeResult) => void,
): Promise<void> {
  const children = Array.from({ length: members }, (_, self) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "-c",
        CONFIG,
        NODE,
        JSON.stringify({ self, members, sizes } satisfies NodeArguments),
      ],
      stdin: "piped",
      stdout: "piped",
    }).spawn());
  try {
    const outputs = children.map(({ stdout }) => linesOf(stdout));
    const ports = await Promise.all(outputs.map(async (lines) => Number((await lines.next()).value)));
    const writers = children.map(({ stdin }) => stdin.getWriter());
    for (const writer of writers) await writer.write(new TextEncoder().encode(JSON.stringify(ports)));
    await Promise.all(outputs.map(async (lines) => {
      for (let { value } = await lines.next(); value !== "done"; { value } = await lines.next()) {
        if (value === undefined) throw new Error("A member ended before the others");
        tell(JSON.parse(value));
      }
    }));
    for (const writer of writers) await writer.close();
    const codes = await Promise.all(children.map(async ({ status }) => (await status).code));
    if (codes.some((code) => code !== 0)) throw new Error(`The members ended with ${codes.join(", ")}`);
  } finally {
    for (const child of children) {
      try {
        child.kill();
      } catch {
        // it has ended
      }
    }
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
