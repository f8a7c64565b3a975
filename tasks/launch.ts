import { fromFileUrl } from "@std/path";
import { hintNearest } from "../src/config/nearest.ts";
import { UserError } from "../src/errors.ts";
import { newNonce } from "../src/net/link/auth.ts";
import { type ChildFailure, type ChildRecord, isFailure, parseRecord } from "./_childRecord.ts";
import { LIFELINE, runVerb } from "./_cli.ts";
import { Exit } from "./_failure.ts";
import { readRunConfig, runFolder } from "./_runConfig.ts";
import { kill, supervise } from "./_supervise.ts";

const verb = {
  name: "launch",
  summary: "Trains with several processes of this machine: the same bits as with one. Restarts what dies.",
  usage: "--nodes N train [CONFIG.jsonc] [KEY=VALUE...]",
  operands: {
    "train": "what the nodes do, and with which settings: see deno task train --help",
  },
  options: {
    nodes: { type: "number", help: "how many, at most scale.virtualWorkers" },
    runs: { type: "string", value: "FOLDER", help: "the folder of all runs (default: runs)" },
    dryRun: {
      type: "boolean",
      help: "not here: deno task train --dry-run --nodes N says what the nodes take",
    },
  },
  examples: [["--nodes 4 train my.jsonc scale.virtualWorkers=4", "four nodes; the first keeps the run"]],
} as const;

/** A child's permissions. */
const PERMISSIONS = ["read", "write", "env", "sys", "run", "net"].map((name) => `--allow-${name}`);
/** For nodes to end when the run is done: one that is stopped (SIGSTOP) would not, and none has anything to save. */
const GRACE_MS = 5000;
/** From the worst on: what a launch ends with, given what its processes ended with. */
const SEVERITY: readonly number[] = [Exit.fault, Exit.user, Exit.retry, Exit.interrupted, Exit.done];

await runVerb(verb, async ({ flags, args, signal, say, emit }) => {
  const { nodes = NaN, runs } = flags;
  if (flags.dryRun) {
    throw new UserError(
      `Found --dry-run, which launch has not: deno task train --dry-run --nodes ${flags.nodes ?? "N"} ` +
        `with the same settings says what its nodes take`,
    );
  }
  const [what, ...settings] = args;
  if (what !== "train") {
    const found = what === undefined
      ? "nothing to launch"
      : `${what} to launch, ${hintNearest(what, ["train"])}`;
    throw new UserError(`Found ${found}: launch --nodes N train [CONFIG.jsonc]`);
  }
  // where there are several nodes, some keep nothing: what a run needs from elsewhere must be there
  const folderOf = nodes > 1 ? () => null : (name: string) => runFolder(runs, name);
  const { scale: { virtualWorkers } } = await readRunConfig(settings, folderOf);
  if (!Number.isInteger(nodes) || nodes < 1) {
    throw new UserError(`--nodes is ${flags.nodes ?? "not given"}, expected a whole number from 1`);
  }
  if (nodes > virtualWorkers) {
    throw new UserError(
      `--nodes is ${nodes}, but scale.virtualWorkers is ${virtualWorkers}, expected at most one node for each; ` +
        `set scale.virtualWorkers=${nodes} or more`,
    );
  }

  const leaving = new AbortController();
  const leave = () => leaving.abort();
  signal.addEventListener("abort", leave);
  const children = new Set<Deno.ChildProcess>();
  // a second signal, or a fault of ours, leaves nobody behind
  globalThis.addEventListener("unload", () => children.forEach((child) => kill(child, "SIGKILL")));
  const onStart = (child: Deno.ChildProcess) => {
    children.add(child);
    child.status.then(() => {
      children.delete(child);
      child.stdin.close().catch(() => {}); // nobody reads it any more
    });
  };
  const secret = { BLOOMERY_TOKEN: newNonce() };
  const state = await Deno.makeTempDir({ prefix: "bloomery-" });

  /** Processes of nodes. */
  const running = new Set<Deno.ChildProcess>();
  const killRunning = () => running.forEach((child) => kill(child, "SIGKILL"));
  const codes: number[] = [];
  const failures: ChildFailure[] = [];
  let isDone = false;
  /** The first node's end is the run's; another's, unless all is well with it, ends the run as well. */
  const noteEnd = (rank: number | null, code: number) => {
    if (!isDone) codes.push(code);
    if (!isDone && rank === 0 && code === Exit.done) {
      isDone = true;
      Deno.unrefTimer(setTimeout(killRunning, GRACE_MS));
    }
    if (isDone || code !== Exit.done) leave();
  };

  let address = "127.0.0.1:0";
  const url = Promise.withResolvers<string | null>();
  leaving.signal.addEventListener("abort", () => url.resolve(null));
  const closing = new AbortController(); // the nodes leave first
  let minMembers = nodes;
  const superviseCoordinator = async (): Promise<void> => {
    const code = await supervise({
      name: "The coordinator",
      signal: closing.signal,
      command: () => {
        // a node may be away when the group is done: it then goes on alone
        // no other coordinator has this token, and the last one has ended: nobody trains elsewhere
        const options = ["--stay", "--force", "--min-members", `${minMembers}`, "--listen", address];
        return script("coordinate", ["--json", "--state", state, ...options], secret);
      },
      onLine: (stream, line) => {
        if (closing.signal.aborted) return;
        if (stream === "stderr") return say(`[coordinator] ${line}`);
        const record: ChildRecord | null = parseRecord(line);
        if (record === null) return say(`[coordinator] ${line}`);
        if (isFailure(record)) return void failures.push(record);
        if (record.finished) minMembers = 1;
        if (record.url === undefined) return;
        address = new URL(record.url).host; // the next one is where the nodes look for it
        url.resolve(record.url);
      },
      say,
      onStart,
    });
    if (!closing.signal.aborted) noteEnd(null, code);
  };
  const superviseNode = async (rank: number, coordinatorUrl: string): Promise<void> => {
    const options = ["--json", "--quiet", ...(rank === 0 && runs !== undefined ? ["--runs", runs] : [])];
    const here = { LOCAL_RANK: `${rank}`, LOCAL_WORLD_SIZE: `${nodes}` }; // of this machine's GPUs each gets one
    const place = { RANK: `${rank}`, WORLD_SIZE: `${nodes}`, ...here, BLOOMERY_COORDINATOR: coordinatorUrl };
    const code = await supervise({
      name: `Node ${rank}`,
      signal: leaving.signal,
      command: () => script("train", [...settings, ...options], { ...secret, ...place }),
      onLine: (stream, line) => {
        if (stream === "stderr") return say(`[${rank}] ${line}`);
        const record = parseRecord(line);
        if (record === null) say(`[${rank}] ${line}`);
        else if (isFailure(record)) failures.push(record); // it may be started again
        else if (rank === 0) emit(record);
      },
      say,
      onStart(child) {
        onStart(child);
        running.add(child);
        child.status.then(() => running.delete(child));
      },
    });
    noteEnd(rank, code);
  };
  const coordinator = superviseCoordinator();
  const coordinatorUrl = await url.promise;
  if (coordinatorUrl !== null) {
    await Promise.all(Array.from({ length: nodes }, (_, rank) => superviseNode(rank, coordinatorUrl)));
  }
  closing.abort();
  await coordinator;
  await Deno.remove(state, { recursive: true });
  const worst = SEVERITY.find((code) => codes.includes(code)) ?? Exit.done;
  if (worst === Exit.done) return;
  const failure = failures.findLast(({ exitCode }) => exitCode === worst);
  if (worst !== Exit.interrupted) {
    emit({ ...failure ?? { error: "A process could not be kept alive", exitCode: worst } });
  }
  Deno.exit(worst);
});

/**
 * In a session of its own: a terminal's Ctrl-C reaches it through its launcher alone, and so once. Its stdin ends with
 * its launcher, however that ends, and that ends it: a run that nobody looks after would go on for ever.
 */
function script(name: string, args: readonly string[], env: Record<string, string>): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      ...PERMISSIONS,
      fromFileUrl(new URL(`${name}.ts`, import.meta.url)),
      ...args,
    ],
    env: { NO_COLOR: "1", [LIFELINE]: "stdin", ...env },
    detached: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}
