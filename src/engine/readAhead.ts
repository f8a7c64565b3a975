import type { Engine, StateKind } from "./engine.ts";

/** A tensor of the engine's state. */
export interface StateTensor {
  readonly kind: StateKind;
  readonly name: string;
}

/** Bytes that are read together and wait on the host for their turn. */
const AHEAD_BYTES = 2 ** 25;

/**
 * Readers of tensors that will be asked for in this order, one after the other: a reader whose values aren't there yet
 * reads those of the next ones, too, as many as fit 32 MiB, since a wait for the GPU costs more than a copy.
 *
 * @returns a reader for each tensor: its values, row-major. The first of a group reads all of it anew, so the state must
 * not change between the first reader and the last, and may before the first is asked again.
 */
export function readAhead(
  engine: Pick<Engine, "read" | "report">,
  tensors: readonly StateTensor[],
): (() => Promise<Float32Array>)[] {
  const groups = groupBySize(engine, tensors);
  let held: { readonly group: StateTensor[]; readonly values: Promise<Float32Array[]> } | null = null;
  return groups.flatMap((group) =>
    group.map((_, i) => async () => {
      if (i === 0 || held?.group !== group) {
        held = { group, values: Promise.all(group.map(({ kind, name }) => engine.read(kind, name))) };
      }
      return (await held.values)[i];
    })
  );
}

function groupBySize(
  { report }: Pick<Engine, "report">,
  tensors: readonly StateTensor[],
): StateTensor[][] {
  const sizes = new Map(
    [...report.parameters, ...report.optimizerState].map(({ name, shape }) => [
      name,
      shape.reduce((a, b) => a * b, 4),
    ]),
  );
  const groups: StateTensor[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const bytes = sizes.get(tensor.name) ?? 0; // an unknown name is the reader's error
    if (groups.length === 0 || bytes > room) {
      groups.push([]);
      room = AHEAD_BYTES;
    }
    groups.at(-1)!.push(tensor);
    room -= bytes;
  }
  return groups;
}
