/**
 * The links between the members of an epoch. Everybody dials everybody else, receives over the links that
 * it dialled and sends over those that others dialled (`link.ts` says why). They live as long as the epoch:
 * no frame of an older one can come over them.
 *
 * Who closes a link on purpose has heard, or told the coordinator, why the step can't be done: then the
 * coordinator's word is waited for. Any other end is a loss.
 */
import type { Claim } from "../link/auth.ts";
import { type Channel, ClosedError, describeLoss } from "../link/channel.ts";
import { deferred } from "../link/deferred.ts";
import type { Frame, FrameBounds, OutgoingFrame } from "../link/frame.ts";
import { Link } from "../link/link.ts";
import type { PeerTransport } from "../link/outbox.ts";
import { type Dialler, dialPeer } from "./dataPlane.ts";
import type { Peer } from "./types.ts";

export interface MeshOptions {
  readonly dialler: Dialler;
  readonly arrayBytes: FrameBounds["arrayBytes"];
  /** Takes what a peer of the epoch sends, see {@linkcode LinkOptions.onFrame}. */
  readonly onFrame: (peer: string, frame: Frame) => void | Promise<void>;
  /** A peer of the epoch can't be reached, or no longer. */
  readonly onLost: (peer: string, reason: string) => void;
}

/** The way to a peer, which has yet to dial. */
interface Way {
  link: Link | null;
  readonly opened: PromiseWithResolvers<Link>;
}

interface Epoch {
  readonly epoch: number;
  readonly ways: ReadonlyMap<string, Way>;
  readonly links: Set<Link>;
  /** Ends dials under way. */
  readonly dialling: AbortController;
  /** Rejects when it is. */
  readonly over: PromiseWithResolvers<never>;
}

export class Mesh implements PeerTransport {
  readonly #options: MeshOptions;
  #current: Epoch | null = null;
  /** The last epoch that was begun. */
  #newest = 0;
  /** Links of epochs that have yet to begin here, by who dialled them. */
  readonly #early = new Map<string, { readonly epoch: number; readonly link: Link }>();
  readonly #dials = new Set<Promise<void>>();

  constructor(options: MeshOptions) {
    this.#options = options;
  }

  /** Dials the others of an epoch; the one before ends. */
  begin(epoch: number, peers: readonly Peer[], heartbeatMs: number): void {
    this.end();
    const way = (): Way => ({ link: null, opened: deferred<Link>() });
    const ways = new Map(peers.map(({ id }) => [id, way()]));
    const dialling = new AbortController();
    const current: Epoch = { epoch, ways, links: new Set(), dialling, over: deferred<never>() };
    this.#current = current;
    this.#newest = epoch;
    for (const [id, early] of this.#early) {
      if (early.epoch > epoch) continue;
      this.#early.delete(id);
      if (early.epoch === epoch) this.#take(current, id, early.link);
      else early.link.close();
    }
    for (const peer of peers) {
      const dial = this.#dial(current, peer, heartbeatMs).finally(() => this.#dials.delete(dial));
      this.#dials.add(dial);
    }
  }

  /** Ends the epoch: closes its links on purpose. */
  end(): void {
    const current = this.#current;
    if (current === null) return;
    this.#current = null;
    current.dialling.abort();
    const error = new Error(`Epoch ${current.epoch} is over`);
    current.over.reject(error);
    for (const { opened } of current.ways.values()) opened.reject(error);
    for (const link of current.links) link.close();
  }

  /** Ends the epoch, and resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.end();
    for (const { link } of this.#early.values()) link.close();
    await Promise.all(this.#dials);
  }

  /** Takes over the channel of a member that has dialled us. */
  enter(channel: Channel, { id, epoch }: Claim): void {
    const link = new Link(channel, { arrayBytes: () => undefined, onFrame: () => {} });
    if (epoch === this.#current?.epoch) return this.#take(this.#current, id, link);
    if (epoch <= this.#newest) return link.close();
    this.#early.get(id)?.link.close();
    this.#early.set(id, { epoch, link });
    link.closed.then(() => {
      if (this.#early.get(id)?.link === link) this.#early.delete(id);
    });
  }

  /** Rejects when the peer is lost or the epoch over. */
  async send(peer: string, frame: OutgoingFrame): Promise<void> {
    const current = this.#current;
    const way = current?.ways.get(peer);
    if (current === null || way === undefined || frame.epoch !== current.epoch) {
      throw new Error(`There is no way to ${peer} in epoch ${frame.epoch}`);
    }
    try {
      await (way.link ?? await way.opened.promise).send(frame);
    } catch (error) {
      if (error instanceof ClosedError && error.reason.kind === "left") await current.over.promise;
      throw error;
    }
  }

  async #dial(current: Epoch, peer: Peer, heartbeatMs: number): Promise<void> {
    const { dialler, arrayBytes, onFrame, onLost } = this.#options;
    try {
      const channel = await dialPeer(dialler, peer, "member", current.epoch, current.dialling.signal);
      const link = new Link(channel, {
        arrayBytes,
        leavesChecksums: true,
        onFrame: (frame) => {
          // one of a later epoch would be kept until that begins, which may be never
          if (frame.epoch === current.epoch) return onFrame(peer.id, frame);
          throw new Error(`A frame of epoch ${frame.epoch} over a link of epoch ${current.epoch}`);
        },
      });
      link.keepAlive(heartbeatMs);
      this.#watch(current, peer.id, link);
    } catch (error) {
      if (this.#current === current) onLost(peer.id, error instanceof Error ? error.message : String(error));
    }
  }

  #take(current: Epoch, peer: string, link: Link): void {
    const way = current.ways.get(peer);
    if (way === undefined || way.link !== null) return link.close();
    way.link = link;
    way.opened.resolve(link);
    this.#watch(current, peer, link);
  }

  #watch(current: Epoch, peer: string, link: Link): void {
    if (this.#current !== current) return link.close();
    current.links.add(link);
    link.closed.then((reason) => {
      current.links.delete(link);
      if (this.#current === current && reason.kind !== "left") {
        this.#options.onLost(peer, describeLoss(reason));
      }
    });
  }
}
