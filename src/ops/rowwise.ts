/** What ops that work row by row share: windows, and how much of them is in use. */
import rowsText from "../../shaders/rows.wgsl" with { type: "text" };
import randomText from "../../shaders/random.wgsl" with { type: "text" };
import rowSumsText from "../../shaders/row_sums.wgsl" with { type: "text" };
import treeText from "../../shaders/tree.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import { KernelSource } from "../gpu/kernel.ts";
import type { TemplateFile } from "../gpu/template.ts";
import type { GroupCount, Recorder } from "../gpu/recorder.ts";
import { rowWindows, type Tensor } from "../gpu/tensor.ts";

const INCLUDES = [
  { name: "rows.wgsl", text: rowsText },
  { name: "random.wgsl", text: randomText },
  { name: "row_sums.wgsl", text: rowSumsText },
  { name: "tree.wgsl", text: treeText },
];

/** A shader file that may include `rows`, `random`, `row_sums`, `tree` and what is given. */
export function shader(name: string, text: string, includes: readonly TemplateFile[] = []): KernelSource {
  return new KernelSource(name, text, [...INCLUDES, ...includes]);
}

/** Rows `from` to `to` of tensors that have the same first dimension. */
export interface RowWindow {
  readonly from: number;
  readonly to: number;
  /** Uniforms of `rows.wgsl`. */
  readonly uniforms: { readonly row0: number; readonly rows: number };
  /** Workgroups so that `perGroup` items of `perRow` each cover the rows in use. */
  groups(perRow: number, perGroup: number): GroupCount;
  /** Can a flat kernel take four values at a time? Not where that would cross into another window's rows. */
  wholeGroups(width: number): boolean;
}

export interface RowOptions {
  /** Elements per row of each tensor that is bound by these rows. */
  readonly widths: readonly number[];
  /** The rows are tokens of a micro-batch, of which a step may use fewer. */
  readonly live: boolean;
  /** The micro-batch's token in the first of the rows. Default: its first. */
  readonly row0?: number;
  /** Windows are multiples of this; 4 keeps flat groups of four values whole. */
  readonly multiple?: number;
}

/** Calls `record` for each window of rows that fits the binding limit. */
export function forRows(
  recorder: Recorder,
  count: number,
  { widths, live, row0 = 0, multiple = 4 }: RowOptions,
  record: (window: RowWindow) => void,
): void {
  for (const { from, to } of rowWindows(count, recorder.limits, widths, multiple)) {
    const inUse = (now: Live) =>
      live ? Math.min(to - from, Math.max((now.rows ?? 0) - row0 - from, 0)) : to - from;
    record({
      from,
      to,
      uniforms: { row0: row0 + from, rows: to - from },
      groups: (perRow, perGroup) =>
        live
          ? (now) => Math.ceil(inUse(now) * perRow / perGroup)
          : Math.ceil((to - from) * perRow / perGroup),
      wholeGroups: (width) => from * width % 4 === 0 && (to === count || to * width % 4 === 0),
    });
  }
}

/** Elements of a row: everything behind the first dimension. */
export function width(tensor: Tensor): number {
  return tensor.size / tensor.shape[0];
}
