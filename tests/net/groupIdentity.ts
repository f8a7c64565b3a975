import type { Identity } from "../../src/net/control/messages.ts";
import { IDENTITY } from "./coordinatorBench.ts";

/** Of the groups that tests run. */
export const groupIdentity: Identity = { ...IDENTITY, virtualWorkers: 8 };
