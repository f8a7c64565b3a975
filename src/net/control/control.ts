/** The way to a coordinator: where its door is, as whom one enters, and what may be said over the link. */
import { z } from "zod";
import { type Claim, CONTROL_RUN } from "../link/auth.ts";
import { parseCoordinatorMessage, parseMemberMessage } from "./messages.ts";

/** Of the coordinator's only door. */
export const CONTROL_PATH = "/control";
/** A member trains; a watcher asks how the group is. */
export const CONTROL_ROLES = ["member", "watcher"] as const;
export type ControlRole = (typeof CONTROL_ROLES)[number];
/** The name that a coordinator proves to have. */
export const COORDINATOR_ID = "coordinator";

/** What a member says. */
export const MEMBER_MESSAGES = checkedBy(parseMemberMessage);
/** What a coordinator says. */
export const COORDINATOR_MESSAGES = checkedBy(parseCoordinatorMessage);

/** What to prove at a coordinator's door. @param epoch the newest that one knows; 0: none */
export function controlClaim(role: ControlRole, id: string, epoch = 0): Claim {
  return { run: CONTROL_RUN, role, id, to: COORDINATOR_ID, epoch };
}

/** `ws://host:7777/control` for `ws://host:7777`; what is no URL stays as it is, `connect` has words for it. */
export function controlUrl(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null) return url;
  parsed.pathname = parsed.pathname.replace(/\/$/, "") + CONTROL_PATH;
  return parsed.href;
}

/** A parser as the schema of a link. */
function checkedBy<T>(parse: (text: string) => T) {
  return z.unknown().transform((value, context): T => {
    try {
      return parse(JSON.stringify(value));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      context.addIssue({ code: "custom", path: ["message"], message, params: { error } });
      return z.NEVER;
    }
  });
}
