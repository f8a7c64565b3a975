/** What a node asks before it prepares for its group: that takes minutes, and a mistake should show at once. */
import { RetryError, UserError } from "../errors.ts";
import { groupStatus } from "../net/control/status.ts";
import { checkDoor } from "../net/node.ts";
import type { JoinOptions } from "./member.ts";

/** Is there a coordinator that knows of a group? @throws UserError as `contactGroup` */
export async function hasGroup({ url, token, openSocket }: JoinOptions): Promise<boolean> {
  try {
    return (await groupStatus(url, token, { open: openSocket })).run !== null;
  } catch (error) {
    if (!(error instanceof RetryError)) throw error;
    return false;
  }
}

/**
 * Listens for a moment where the others are to reach this node, and asks the coordinator for its group. A coordinator
 * that doesn't answer yet may do so later: that is said.
 *
 * @param run the name of the node's run
 * @throws UserError if the port can't be listened on, the address is none or not as secret as the coordinator's, or the
 * coordinator refuses the token or has another run
 */
export async function contactGroup(
  { url, token, listen, openSocket }: JoinOptions,
  run: string,
  onMessage: (text: string) => void,
): Promise<void> {
  await checkDoor(url, listen);
  try {
    const group = await groupStatus(url, token, { open: openSocket });
    if (group.run === null || group.run === run) return;
    throw new UserError(
      `The group at ${url} trains ${JSON.stringify(group.run)}, and this run is ${JSON.stringify(run)}; ` +
        "join that run's group, or name the run as all its nodes do (name=...)",
    );
  } catch (error) {
    if (!(error instanceof RetryError)) throw error;
    onMessage(`warning: ${error.message}; trying again when this node is ready`);
  }
}
