import {
  type Coordinator,
  type CoordinatorOptions,
  runCoordinator,
} from "../net/coordinator/coordinatorServer.ts";
import type { CoordinatorSettings } from "../net/coordinator/types.ts";

/** A group's coordinator. */
export interface CoordinateOptions
  extends Omit<CoordinatorOptions, "settings" | "log">, Partial<CoordinatorSettings> {
  /** Takes a line for people: what happens to the group, and who was turned away. Default: nobody hears of it. */
  readonly log?: CoordinatorOptions["log"];
}

/**
 * Coordinates a group in this process, which needs no GPU: who is in, which step is committed. Ends when the run has
 * reached its end and all have left, or at its signal; the members then hold until one comes back with the same folder.
 *
 * By default it goes on as soon as one member is there (`minMembers`), waits 30 s for others that it knows (`waitMs`), but
 * without limit for one that has a newer state on its disk than those who are there (unless `force`), and takes a member
 * that is silent for three heartbeats of 1 s (`heartbeatMs`) to be lost. One that beats, but doesn't come to the end of its
 * work, holds the group up for ever unless there is a `stepTimeoutMs`.
 *
 * @throws UserError if another one has the folder, if its file can't be read, or if it can't listen
 *
 * @example
 * ```ts
 * const token = await importToken("a secret of 16 characters or more");
 * const stop = new AbortController();
 * const coordinator = await coordinate({ folder: "runs/.coordinator", token, signal: stop.signal });
 * console.log(await groupStatus(coordinator.url, token));
 * stop.abort();
 * await coordinator.ended;
 * ```
 */
export async function coordinate(options: CoordinateOptions): Promise<Coordinator> {
  const { minMembers = 1, waitMs = 30_000, heartbeatMs = 1000, force = false, stepTimeoutMs, ...others } =
    options;
  const { log = () => {}, ...rest } = others;
  return await runCoordinator({
    ...rest,
    settings: { minMembers, waitMs, heartbeatMs, force, stepTimeoutMs },
    log,
  });
}
