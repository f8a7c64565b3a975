import { type ChaosSummary, runChaos } from "../src/chaos/run.ts";
import { UserError } from "../src/errors.ts";
import { runVerb } from "./_cli.ts";
import { Exit } from "./_failure.ts";
import { formatInteger, formatShortTime } from "./_format.ts";

const verb = {
  name: "chaos",
  summary:
    "Kills, freezes and cuts off the nodes of groups that train a tiny model, and compares what they come to.",
  usage: "[--kills N] [--seed N]",
  operands: {},
  options: {
    kills: { type: "number", help: "processes to kill, in as many runs as it takes (default: 50)" },
    seed: { type: "number", help: "what happens, to whom and at which byte (default: 1)" },
  },
  examples: [["--kills 200 --seed 7", "for a quarter of an hour or so"]],
} as const;

/** Of each run. */
const STEPS = 150;
const PAUSE_MS = 500;

await runVerb(verb, async ({ flags, args, signal, say, emit }) => {
  if (args.length > 0) throw new UserError(`Found ${args.join(" and ")}, expected flags alone`);
  if (Deno.build.os === "windows") {
    throw new UserError("Windows can't stop a process and let it go on; use another system for this");
  }
  const { kills = 50, seed = 1 } = flags;
  for (const [flag, value, least] of [["kills", kills, 1], ["seed", seed, 0]] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new UserError(`--${flag} is ${value}, expected a whole number from ${least}`);
    }
  }
  const summary = await runChaos({ kills, seed, steps: STEPS, pauseMs: PAUSE_MS, say, signal });
  describe(summary).forEach(say);
  emit({ ...summary });
  if (summary.lost.length > 0) Deno.exit(Exit.user);
});

function describe(
  { runs, faults, kills, steps, redone, copies, stepMs, recoveryMs, lost }: ChaosSummary,
): string[] {
  const { freeze, freezeCoordinator, leave, cut, stall, delay, throttle } = faults;
  const { count, median, p90 } = recoveryMs;
  const recovery = count === 0
    ? "a time that was not measured: each kill came with another fault"
    : `${formatShortTime(median)} (90% within ${formatShortTime(p90)}, ${count} kills); a step takes ${
      formatShortTime(stepMs)
    }`;
  return [
    `Killed        ${kills.members} members (${faults.killAll} times all at once), ${kills.coordinators} coordinators`,
    `Frozen        ${freeze} members, ${freezeCoordinator} coordinators`,
    `Sent away     ${leave} members, by SIGTERM`,
    `Links         ${cut} cut, ${stall} silent, ${delay} delayed, ${throttle} throttled`,
    `Done          ${
      formatInteger(steps)
    } steps in ${runs} runs; ${redone} were begun again, ${copies} states were copied`,
    `After kill -9 the next step was committed within ${recovery}`,
    lost.length === 0
      ? "Lost          nothing: every digest and every sample is as planned"
      : `Lost          ${lost.length} things:`,
    ...lost,
  ];
}
