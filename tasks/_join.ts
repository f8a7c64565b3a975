import { readLauncherEnvironment } from "../src/api/launcherEnvironment.ts";
import type { JoinOptions } from "../src/api/member.ts";
import { UserError } from "../src/errors.ts";
import { openWithCa } from "../src/net/link/caFile.ts";
import { describeSharing } from "../src/net/sum/shares.ts";
import type { Flags, Options } from "./_flags.ts";
import { formatInteger } from "./_format.ts";
import { parseAddress, readTls, TLS_OPTIONS } from "./_listen.ts";
import { readToken, TOKEN_OPTION } from "./_token.ts";

/** How a node finds its group, and is found, and where it keeps the run. */
export const JOIN_OPTIONS = {
  runs: { type: "string", value: "FOLDER", help: "the folder of all runs (default: runs)" },
  join: {
    type: "string",
    value: "URL",
    help:
      "train with the group of this coordinator, ws://host:7777 (default: as the launcher's variables say)",
  },
  nodes: {
    type: "number",
    help:
      "how many nodes the group has, which --dry-run counts for (default: as the launcher's variables say)",
  },
  tokenFile: TOKEN_OPTION,
  listen: {
    type: "string",
    value: "HOST:PORT",
    help: "where the group's nodes reach this one (default: this machine alone, any free port)",
  },
  advertise: {
    type: "string",
    value: "HOST:PORT",
    help: "what they are told, if it is not where this node listens",
  },
  ...TLS_OPTIONS,
  ca: { type: "string", value: "FILE", help: "certificate of the private CA that signed the group's" },
  quiet: {
    type: "boolean",
    help: "leave it to the coordinator to say who comes and goes, where its lines are read, too",
  },
} as const satisfies Options;

/**
 * The group that a node is to join, by its flags or else by the launcher's environment; null: it trains alone.
 *
 * @throws UserError for mistakes in them
 */
export async function readJoin(
  flags: Flags<typeof JOIN_OPTIONS>,
  virtualWorkers: number,
  say: (line: string) => void,
): Promise<JoinOptions | null> {
  const { coordinator, rank } = readLauncherEnvironment(Deno.env.toObject());
  const url = flags.join ?? coordinator;
  if (url === null) return null;
  const nodes = readNodes(flags);
  if (nodes !== null && nodes > virtualWorkers) say(describeSpares(nodes, virtualWorkers));
  const tls = await readTls(flags.tlsCert, flags.tlsKey, say);
  const advertised = flags.advertise === undefined ? undefined : parseAddress("--advertise", flags.advertise);
  const address = flags.listen === undefined ? undefined : parseAddress("--listen", flags.listen);
  if (advertised === undefined && /^(0\.0\.0\.0|::)$/.test(address?.hostname ?? "")) {
    throw new UserError(
      `--listen is ${flags.listen}, all addresses of this machine; say by --advertise HOST:PORT where others reach it`,
    );
  }
  return {
    url,
    token: await readToken(flags.tokenFile, say),
    memberId: rank === null ? undefined : `node-${rank}`,
    listen: { ...address, tls, url: advertised && urlOf(advertised, tls !== undefined) },
    openSocket: flags.ca === undefined ? undefined : await openWithCa(flags.ca),
    quiet: flags.quiet,
  };
}

/** Does this node keep the run? Of those that a launcher has started the first does: they may all see the same disk. */
export function keepsRun({ join, runs }: Pick<Flags<typeof JOIN_OPTIONS>, "join" | "runs">): boolean {
  const { coordinator, rank } = readLauncherEnvironment(Deno.env.toObject());
  const isAlone = join === undefined && coordinator === null;
  return isAlone || runs !== undefined || rank === null || rank === 0;
}

/** How many nodes the group has, by the flag or else by the launcher's environment; null: nobody says. */
export function readNodes({ nodes }: Pick<Flags<typeof JOIN_OPTIONS>, "nodes">): number | null {
  if (nodes === undefined) return readLauncherEnvironment(Deno.env.toObject()).nodes;
  if (Number.isInteger(nodes) && nodes >= 1) return nodes;
  throw new UserError(`--nodes is ${nodes}, expected a whole number from 1`);
}

function urlOf({ hostname, port }: { hostname: string; port: number }, isSecure: boolean): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${isSecure ? "wss" : "ws"}://${host}:${port}`;
}

/** Who shares the work of a group, and how many of its nodes stand by. */
export function describeGroupSize(nodes: number, virtualWorkers: number): string {
  const spares = nodes - virtualWorkers;
  const sharing = describeSharing(virtualWorkers, nodes);
  return spares <= 0
    ? sharing
    : `${sharing}: ${formatInteger(spares)} ${spares === 1 ? "stands" : "stand"} by`;
}

function describeSpares(nodes: number, virtualWorkers: number): string {
  return `${describeGroupSize(nodes, virtualWorkers)} in case one is lost; ` +
    `set scale.virtualWorkers=${nodes} to use them all`;
}
