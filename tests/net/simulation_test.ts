import { assert } from "@std/assert";
import { type Broken, type Fault, Simulation } from "./simulation.ts";

const RUNS = Number(Deno.env.get("SIMULATION_RUNS") ?? 300);
const FIRST = Number(Deno.env.get("SIMULATION_SEED") ?? 0);

function simulate(faults: readonly Fault[], counts: Record<string, number>, broken?: Broken): void {
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const simulation = new Simulation({
      seed,
      members: 1 + seed % 5 + (seed % 3 === 0 ? 1 : 0),
      virtualWorkers: [8, 3, 1, 5][seed % 4],
      durationMs: 1200,
      faultMs: [60, 150, 300][seed % 3],
      faults,
      keepers: faults.includes("blackout") ? 1 + seed % 2 : undefined,
      broken,
      skipEvery: seed % 4 === 1 ? 5 : 0,
      isChecked: seed % 20 === 0,
    });
    simulation.run();
    for (const [name, count] of Object.entries(simulation.counts)) counts[name] = (counts[name] ?? 0) + count;
  }
}

const CASES: Readonly<Record<string, readonly Fault[]>> = {
  "members die and leave": ["kill", "vanish", "leave"],
  "all are lost, and who keeps the run comes back last": ["blackout", "kill", "leave", "cut"],
  "all are lost, the coordinator too, and who keeps the run comes back last": [
    "blackout",
    "killCoordinator",
    "vanish",
    "freeze",
  ],
  "members freeze, connections break": ["freeze", "cut"],
  "the coordinator dies": ["killCoordinator", "kill"],
  "the network parts": ["partition", "kill"],
  "bits change": ["corrupt", "cut"],
  "everything but rivals": [
    "kill",
    "vanish",
    "freeze",
    "cut",
    "partition",
    "leave",
    "killCoordinator",
    "freezeCoordinator",
  ],
  "a second coordinator without the file": ["rival", "partition", "freeze", "freezeCoordinator"],
  "a second coordinator, and all are lost": ["rival", "blackout", "partition", "killCoordinator", "freeze"],
  "a second coordinator, members cut off uncleanly, killed and leaving": [
    "rival",
    "rival",
    "cut",
    "cut",
    "kill",
    "vanish",
    "leave",
    "partition",
    "freeze",
    "killCoordinator",
    "freezeCoordinator",
  ],
};

for (const [name, faults] of Object.entries(CASES)) {
  Deno.test(`a simulated group goes on with the same bits when ${name}`, () => {
    const counts: Record<string, number> = {};
    simulate(faults, counts);
    if (Deno.env.has("SIMULATION_RUNS")) console.log(name, counts);
    if (faults.includes("corrupt")) assert(counts.corrupted > RUNS / 4, JSON.stringify(counts));
    assert(
      counts.faults > RUNS && counts.commits > 10 * RUNS && counts.aborts > RUNS / 4,
      JSON.stringify(counts),
    );
  });
}

for (const broken of ["dials", "receives", "pair", "gradients"] as const) {
  Deno.test(`a simulated group goes on with the same bits without one of its members: ${broken} is broken`, () => {
    const counts: Record<string, number> = {};
    simulate(["cut", "kill", "blackout"], counts, broken);
    assert(
      counts.faults > RUNS && counts.commits > 10 * RUNS && counts.aborts > RUNS / 4,
      JSON.stringify(counts),
    );
  });
}
