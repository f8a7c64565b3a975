/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * A member on a thread of its own, which can be ended, or stopped, in the middle of a step: the Worker's
 * side.
 */
import { joinGroup } from "../../src/net/node.ts";
import { FakeReplica } from "./fakeReplica.ts";
import { groupIdentity } from "./groupIdentity.ts";
import { token } from "./sockets.ts";

declare const self: DedicatedWorkerGlobalScope;

export interface Order {
  readonly coordinator: string;
  readonly memberId: string;
  readonly bucketElements: number;
  /** The step in whose middle it says so, and does nothing more. */
  readonly step: number;
  /** Not even turns of its event loop: as if it were stopped. */
  readonly isFrozen: boolean;
}

self.onmessage = ({ data: { step, isFrozen, ...order } }: MessageEvent<Order>) => {
  const replica = new FakeReplica();
  replica.beforeSums = async (current) => {
    if (current !== step) return;
    self.postMessage("in the middle");
    if (isFrozen) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    await new Promise(() => {});
  };
  joinGroup({ ...order, token, identity: groupIdentity, replica, tokensOf: () => 64, log: () => {} });
};
