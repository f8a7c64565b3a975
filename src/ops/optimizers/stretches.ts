import { alignUp, type Arena, type Tensor } from "../../gpu/tensor.ts";

/** Tensors of one kind that lie side by side, as one flat stretch of an arena's buffer. */
export interface Stretch {
  readonly buffer: number;
  readonly offset: number;
  bytes: number;
  readonly decays: boolean;
}

/** An arena's stretches; the padding between their tensors is 0. */
export function stretches(arena: Arena, decays: (tensor: Tensor) => boolean): Stretch[] {
  const found: Stretch[] = [];
  for (const tensor of arena.tensors) {
    const { buffer, offset } = tensor.place!;
    const last = found.at(-1);
    const kind = decays(tensor);
    if (last !== undefined && last.buffer === buffer && last.decays === kind) {
      last.bytes = offset - last.offset + alignUp(tensor.bytes);
    } else found.push({ buffer, offset, bytes: alignUp(tensor.bytes), decays: kind });
  }
  return found;
}
