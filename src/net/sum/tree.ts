/**
 * The fixed binary tree over the virtual workers of a run. Floating-point sums depend on their order; this one
 * depends on the number of virtual workers alone, so that any number of nodes gets the same bits.
 *
 * A node over [from, to) has the largest power of two strictly below its count on the left, the rest on the right.
 */
import type { Share } from "./shares.ts";

/** The sum over a maximal subtree that lies within one member's share. */
export interface Piece extends Share {
  /** Index of the member whose share it is. */
  readonly member: number;
}

/** `values[target] = values[left] + values[right]`. */
export interface Addition {
  readonly target: number;
  readonly left: number;
  readonly right: number;
}

/** How the pieces of all shares become the sum over all virtual workers. */
export interface SumPlan {
  /** In ascending order; value i of the additions is piece i. */
  readonly pieces: readonly Piece[];
  /** In the order in which they are done; values from `pieces.length` on are registers. */
  readonly additions: readonly Addition[];
  /** How many registers the additions need. */
  readonly registers: number;
  /** The value that is the sum: the first register, or the only piece. */
  readonly root: number;
}

/** The maximal subtrees of the tree over [0, virtualWorkers) that lie within `share`, in ascending order. */
export function subtreesOf(virtualWorkers: number, share: Share): Share[] {
  const found: Share[] = [];
  const visit = (from: number, to: number): void => {
    if (to <= share.from || from >= share.to) return;
    if (share.from <= from && to <= share.to) {
      found.push({ from, to });
      return;
    }
    const middle = splitOf(from, to);
    visit(from, middle);
    visit(middle, to);
  };
  visit(0, virtualWorkers);
  return found;
}

/**
 * The additions that combine the pieces of all shares; a subtree is added when both of its sides are there, left
 * first, and waits in the register of its depth.
 *
 * @param shares by member; contiguous, in ascending order, they cover [0, virtualWorkers); some may be empty
 * @throws Error if they don't cover it
 */
export function planSum(virtualWorkers: number, shares: readonly Share[]): SumPlan {
  const end = shares.reduce((reached, { from, to }) => from === reached && to >= from ? to : NaN, 0);
  if (virtualWorkers < 1 || end !== virtualWorkers) {
    throw new Error(`The shares don't cover the ${virtualWorkers} virtual workers in order`);
  }
  const pieces = shares.flatMap((share, member) =>
    subtreesOf(virtualWorkers, share).map((subtree) => ({ member, ...subtree }))
  );
  const pieceAt = new Map(pieces.map(({ from, to }, index) => [`${from} ${to}`, index]));
  const additions: Addition[] = [];
  let registers = 0;
  const add = (from: number, to: number, register: number): number => {
    const piece = pieceAt.get(`${from} ${to}`);
    if (piece !== undefined) return piece;
    const middle = splitOf(from, to);
    const left = add(from, middle, register);
    const right = add(middle, to, register + 1);
    registers = Math.max(registers, register + 1);
    const target = pieces.length + register;
    additions.push({ target, left, right });
    return target;
  };
  const root = add(0, virtualWorkers, 0);
  return { pieces, additions, registers, root };
}

/** Where the right side of the node over [from, to) begins. */
export function splitOf(from: number, to: number): number {
  return from + 2 ** Math.floor(Math.log2(to - from - 1));
}
