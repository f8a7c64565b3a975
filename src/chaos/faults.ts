/** What goes wrong in a chaos run, drawn from a seed. */

export type Fault =
  /** kill -9, once so many bytes have passed between it and the others; 0: at once. */
  | { readonly kind: "kill"; readonly node: number; readonly bytes: number }
  | { readonly kind: "killAll" }
  | { readonly kind: "killCoordinator" }
  /** SIGSTOP, and SIGCONT after a while. */
  | { readonly kind: "freeze"; readonly node: number; readonly ms: number }
  | { readonly kind: "freezeCoordinator"; readonly ms: number }
  /** SIGTERM; it comes back. */
  | { readonly kind: "leave"; readonly node: number }
  /** All connections on a link end, once so many bytes have passed. */
  | { readonly kind: "cut"; readonly node: number; readonly link: LinkKind; readonly bytes: number }
  /** Nothing passes on a link for a while. */
  | { readonly kind: "stall"; readonly node: number; readonly link: LinkKind; readonly ms: number }
  | { readonly kind: "delay"; readonly node: number; readonly link: LinkKind; readonly delayMs: number }
  | {
    readonly kind: "throttle";
    readonly node: number;
    readonly link: LinkKind;
    readonly bytesPerSecond: number;
  };

/** A member's way to the coordinator, or the others' way to it. */
export type LinkKind = "control" | "data";

/** How often each happens. */
const WEIGHTS: Readonly<Record<Fault["kind"], number>> = {
  kill: 40,
  killAll: 1,
  killCoordinator: 8,
  freeze: 10,
  freezeCoordinator: 4,
  leave: 4,
  cut: 12,
  stall: 5,
  delay: 5,
  throttle: 5,
};

/** Of the traffic of a tiny model: a few steps. */
const MOST_BYTES = 1 << 16;

/** @param draw whole numbers from 0 and below what is asked for */
export function drawFault(draw: (below: number) => number, nodes: number, heartbeatMs: number): Fault {
  const kind = drawKind(draw);
  const node = draw(nodes);
  const link = draw(2) === 0 ? "control" : "data";
  const bytes = draw(2) === 0 ? 0 : 1 + draw(MOST_BYTES);
  // From what nobody notices to beyond the heartbeats after which a member is lost.
  const ms = Math.round(heartbeatMs / 2) + draw(5 * heartbeatMs);
  switch (kind) {
    case "kill":
      return { kind, node, bytes };
    case "killAll":
    case "killCoordinator":
      return { kind };
    case "freezeCoordinator":
      return { kind, ms };
    case "freeze":
      return { kind, node, ms };
    case "leave":
      return { kind, node };
    case "cut":
      return { kind, node, link, bytes };
    case "stall":
      return { kind, node, link, ms };
    case "delay":
      return { kind, node, link, delayMs: 1 + draw(20) };
    case "throttle":
      return { kind, node, link, bytesPerSecond: (1 << 15) + draw(1 << 19) };
  }
}

function drawKind(draw: (below: number) => number): Fault["kind"] {
  const kinds = Object.keys(WEIGHTS) as Fault["kind"][];
  const total = kinds.reduce((sum, kind) => sum + WEIGHTS[kind], 0);
  let place = draw(total);
  return kinds.find((kind) => (place -= WEIGHTS[kind]) < 0)!;
}
