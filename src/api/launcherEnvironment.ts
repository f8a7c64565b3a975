import { UserError } from "../errors.ts";

/** A node's place among those that a launcher has started. */
export interface LaunchedNode {
  /** Of the coordinator, such as `ws://host:7777`; null: nobody says that there is one. */
  readonly coordinator: string | null;
  /** From 0; null: not known. */
  readonly rank: number | null;
  /** Nodes that were started, or the most that may be; null: not known. */
  readonly nodes: number | null;
  /** From 0 among the nodes of its machine; null: not known. */
  readonly localRank: number | null;
  /** Nodes of its machine; null: not known. */
  readonly localNodes: number | null;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where launchers say which of how many nodes this is; the first whose rank is set counts. */
const PLACES: readonly { readonly rank: string; readonly nodes: string | null }[] = [
  { rank: "RANK", nodes: "WORLD_SIZE" },
  { rank: "PET_NODE_RANK", nodes: "PET_NNODES" }, // torchrun, Kubeflow
  { rank: "SLURM_PROCID", nodes: "SLURM_NTASKS" },
  { rank: "OMPI_COMM_WORLD_RANK", nodes: "OMPI_COMM_WORLD_SIZE" },
  { rank: "JOB_COMPLETION_INDEX", nodes: null }, // Kubernetes' Indexed Jobs
  { rank: "SKYPILOT_NODE_RANK", nodes: "SKYPILOT_NUM_NODES" },
];

/** Where they say which of its machine's nodes this is. */
const LOCAL_PLACES: readonly { readonly rank: string; readonly nodes: string }[] = [
  { rank: "LOCAL_RANK", nodes: "LOCAL_WORLD_SIZE" },
  { rank: "SLURM_LOCALID", nodes: "SLURM_NTASKS_PER_NODE" },
  { rank: "OMPI_COMM_WORLD_LOCAL_RANK", nodes: "OMPI_COMM_WORLD_LOCAL_SIZE" },
];

/** Where launchers say on which host and port a group meets. */
const MEETING_PLACES: readonly { readonly host: string; readonly port: string }[] = [
  { host: "MASTER_ADDR", port: "MASTER_PORT" },
  { host: "PET_MASTER_ADDR", port: "PET_MASTER_PORT" },
];

/** Lists of a job's hosts, of which the first is the meeting place; for more nodes than one. */
const HOST_LISTS: readonly { readonly list: string; readonly nodes: string }[] = [
  { list: "SLURM_JOB_NODELIST", nodes: "SLURM_NTASKS" },
  { list: "SKYPILOT_NODE_IPS", nodes: "SKYPILOT_NUM_NODES" },
];
const DEFAULT_PORT = "7777";

/**
 * What the usual launchers tell the processes that they start: `BLOOMERY_COORDINATOR` (a URL), then the variables of
 * torchrun, Slurm, MPI, Kubernetes and SkyPilot. Their coordinator is at `MASTER_ADDR`, or on the job's first host.
 *
 * @param env a process's environment
 * @throws UserError for a rank or a number that is none, or a list of hosts that can't be read
 *
 * @example
 * ```ts
 * readLauncherEnvironment({ MASTER_ADDR: "10.0.0.5", RANK: "3", WORLD_SIZE: "8" });
 * // { coordinator: "ws://10.0.0.5:7777", rank: 3, nodes: 8, localRank: null, localNodes: null }
 * ```
 */
export function readLauncherEnvironment(env: Environment): LaunchedNode {
  const place = PLACES.find(({ rank }) => env[rank]);
  const local = LOCAL_PLACES.find(({ rank }) => env[rank]);
  const numberAt = (name: string | null | undefined) => name && env[name] ? wholeNumber(env, name) : null;
  return {
    coordinator: env.BLOOMERY_COORDINATOR || meetingPlace(env) || firstHost(env),
    rank: numberAt(place?.rank),
    nodes: numberAt(place?.nodes),
    localRank: numberAt(local?.rank),
    localNodes: numberAt(local?.nodes),
  };
}

function meetingPlace(env: Environment): string | null {
  const found = MEETING_PLACES.find(({ host }) => env[host]);
  return found === undefined ? null : urlOf(env[found.host]!, env[found.port] || DEFAULT_PORT);
}

/** A job of one node has a list, too, and nobody to meet. */
function firstHost(env: Environment): string | null {
  const found = HOST_LISTS.find(({ list, nodes }) => env[list] && env[nodes] && wholeNumber(env, nodes) > 1);
  if (found === undefined) return null;
  // "10.0.0.5 10.0.0.6", one a line or with commas; Slurm: "n[01-04,7],other"
  const [, name, index = "", rest = ""] =
    /^([\w.:-]+)(?:\[(\d+)[^\]]*\])?([\w.-]*)(?:[\s,]|$)/.exec(env[found.list]!.trim()) ?? [];
  if (name !== undefined) return urlOf(name + index + rest, DEFAULT_PORT);
  throw new UserError(
    `The variable ${found.list} is ${JSON.stringify(env[found.list])}, expected a list of hosts; ` +
      "set BLOOMERY_COORDINATOR=ws://host:7777",
  );
}

function urlOf(host: string, port: string): string {
  return `ws://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** `8`, or the last of `1:8`, as elastic launchers write it. */
function wholeNumber(env: Environment, name: string): number {
  const [, digits] = /^(?:\d+:)?(\d{1,9})$/.exec(env[name] ?? "") ?? [];
  if (digits !== undefined) return Number(digits);
  throw new UserError(
    `The variable ${name} is ${JSON.stringify(env[name])}, expected a whole number; unset it or correct it`,
  );
}
