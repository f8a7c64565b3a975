/** The way to a member's data plane: where its door is, and as whom one enters. */
import type { Channel } from "../link/channel.ts";
import { connect, type OpenSocket } from "../link/connect.ts";
import type { Peer } from "./types.ts";

/** Of the only door that a member has. */
export const DATA_PATH = "/data";
/** A member takes part in the epoch that its claim names; a follower copies. */
export const DATA_ROLES = ["member", "follower"] as const;
export type DataRole = (typeof DATA_ROLES)[number];

/** Who dials. */
export interface Dialler {
  readonly run: string;
  readonly id: string;
  readonly token: CryptoKey;
  readonly open?: OpenSocket;
}

/** One attempt to get a channel to a member's data plane. @throws UserError, RetryError, the signal's reason as `connect` does */
export function dialPeer(
  { run, id, token, open }: Dialler,
  peer: Peer,
  role: DataRole,
  epoch: number,
  signal: AbortSignal,
): Promise<Channel> {
  const url = peer.url.replace(/\/$/, "") + DATA_PATH;
  return connect({ url, token, claim: { run, role, id, to: peer.id, epoch }, open, signal });
}
