/** A coordinator and members in this process, for tests of whole groups. */
import { assert, assertEquals } from "@std/assert";
import { type Coordinator, runCoordinator } from "../../src/net/coordinator/coordinatorServer.ts";
import type { CoordinatorSettings } from "../../src/net/coordinator/types.ts";
import type { ListenOptions } from "../../src/net/link/listenServer.ts";
import { joinGroup, type JoinOptions, type Node } from "../../src/net/node.ts";
import type { FakeReplica } from "./fakeReplica.ts";
import { groupIdentity } from "./groupIdentity.ts";
import { token } from "./sockets.ts";
import { sameBits } from "./support.ts";

export const BUCKET_ELEMENTS = 2048;

type Options = Partial<JoinOptions> & { readonly replica: FakeReplica };

export class Group implements AsyncDisposable {
  readonly log: string[] = [];
  readonly #settings: CoordinatorSettings;
  readonly #folder: string;
  /** The first coordinator's, where members dial. */
  readonly #address: string;
  #coordinator: Coordinator;
  #stopping: AbortController;
  readonly #killing = new AbortController();
  readonly #nodes: Node[] = [];

  private constructor(
    settings: CoordinatorSettings,
    folder: string,
    [coordinator, stopping]: Started,
    readonly coordinatorLog: string[],
  ) {
    this.#settings = settings;
    this.#folder = folder;
    this.#address = coordinator.url;
    this.#coordinator = coordinator;
    this.#stopping = stopping;
  }

  /** @param minMembers that the group waits for */
  static async start(minMembers: number, heartbeatMs = 500, tls?: ListenOptions["tls"]): Promise<Group> {
    const settings = { minMembers, heartbeatMs, waitMs: 0, force: false };
    const folder = await Deno.makeTempDir();
    const log: string[] = [];
    return new Group(settings, folder, await startCoordinator(settings, folder, { port: 0, tls }, log), log);
  }

  /** The coordinator's, with its port. */
  get url(): string {
    return this.#coordinator.url;
  }

  get coordinator(): Coordinator {
    return this.#coordinator;
  }

  /**
   * The coordinator ends, and another process takes its place: behind another port, as the first one may be taken.
   * Members find it at the old address.
   *
   * @param meanwhile while there is none
   */
  async restartCoordinator(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    this.#stopping.abort();
    await this.#coordinator.ended;
    await meanwhile();
    const { coordinatorLog } = this;
    [this.#coordinator, this.#stopping] = await startCoordinator(
      this.#settings,
      this.#folder,
      { port: 0 },
      coordinatorLog,
    );
  }

  /** What dials the first coordinator's address, and finds whoever is in its place now. */
  readonly openSocket = (url: string, protocol: string): WebSocket => {
    const isCoordinator = url.startsWith(`${this.#address}/`);
    return new WebSocket(isCoordinator ? this.url + url.slice(this.#address.length) : url, protocol);
  };

  join(memberId: string, options: Options): Node {
    const node = joinGroup({
      coordinator: this.#address,
      openSocket: this.openSocket,
      token,
      identity: groupIdentity,
      memberId,
      bucketElements: BUCKET_ELEMENTS,
      tokensOf: () => 64,
      signal: this.#killing.signal,
      log: (level, text) => this.log.push(`${memberId} ${level}: ${text}`),
      ...options,
    });
    this.#nodes.push(node);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#killing.abort();
    await Promise.allSettled(this.#nodes.map(({ done }) => done));
    this.#stopping.abort();
    await this.#coordinator.ended.catch(() => {});
    await Deno.remove(this.#folder, { recursive: true });
  }
}

type Started = [Coordinator, AbortController];

async function startCoordinator(
  settings: CoordinatorSettings,
  folder: string,
  listen: ListenOptions,
  log: string[],
): Promise<Started> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const coordinator = await runCoordinator({
    folder,
    token,
    settings,
    listen,
    signal,
    log: (_, text) => log.push(text),
  });
  coordinator.ended.catch(() => {}); // whoever waits for it hears of it
  return [coordinator, stopping];
}

/** Waits until all have finished as they should. */
export async function finish(...nodes: readonly Node[]): Promise<void> {
  for (const { done } of nodes) assertEquals(await done, { refusal: null });
}

/** Checks that all have the same state, after all steps. */
export function assertTrained(expected: Float32Array, ...replicas: readonly FakeReplica[]): void {
  const [{ applied }] = replicas;
  for (const replica of replicas) {
    assertEquals(replica.applied, applied);
    assertEquals(replica.applied.step, replica.totalSteps);
    assert(sameBits(replica.state, expected), "another state than one process alone");
  }
}
