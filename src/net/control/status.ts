import { RetryError } from "../../errors.ts";
import { describeClose } from "../link/channel.ts";
import { connect, type OpenSocket } from "../link/connect.ts";
import { controlClaim, controlUrl, COORDINATOR_MESSAGES } from "./control.ts";
import { ControlLink } from "./controlLink.ts";
import type { CoordinatorMessage, GroupStatus, MemberMessage } from "./messages.ts";

export interface StatusOptions {
  /** For servers whose certificate a private CA has signed. */
  readonly open?: OpenSocket;
  /** For the connection and for the answer, each; default 5000. */
  readonly timeoutMs?: number;
}

/**
 * Asks a coordinator how its group is.
 *
 * @param url of the coordinator, such as `ws://host:7777`
 * @throws UserError where the address is none or the token is not the coordinator's; RetryError where nobody answers
 *
 * @example
 * ```ts
 * const token = await importToken("a secret of 16 characters or more");
 * const stop = new AbortController();
 * const coordinator = await coordinate({ folder: "runs/.asked", token, signal: stop.signal });
 * const { step, members } = await groupStatus(coordinator.url, token);
 * console.log(step, members.length); // 0 0
 * stop.abort();
 * await coordinator.ended;
 * ```
 */
export async function groupStatus(
  url: string,
  token: CryptoKey,
  { open, timeoutMs = 5000 }: StatusOptions = {},
): Promise<GroupStatus> {
  const claim = controlClaim("watcher", "status");
  const channel = await connect({ url: controlUrl(url), name: url, token, claim, timeoutMs, open });
  const answer = Promise.withResolvers<GroupStatus>();
  const link = new ControlLink<CoordinatorMessage, MemberMessage>(channel, {
    schema: COORDINATOR_MESSAGES,
    onMessage: (message) => message.type === "status" ? answer.resolve(message) : undefined,
  });
  link.closed.then((reason) => {
    answer.reject(new RetryError(`${url} has not said how its group is: ${describeClose(reason)}`));
  });
  const timer = setTimeout(() => channel.close("silent", `no answer in ${timeoutMs} ms`), timeoutMs);
  link.send({ type: "status" });
  try {
    return await answer.promise;
  } finally {
    clearTimeout(timer);
    link.close();
  }
}
