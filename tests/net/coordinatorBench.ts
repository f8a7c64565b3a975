/** A coordinator to be told events by hand. Link n is that of member `mn` unless said otherwise. */
import {
  type CoordinatorMessage,
  type Identity,
  type MemberMessage,
  type MessageOf,
  parseCoordinatorMessage,
  parseMemberMessage,
  PROTOCOL,
} from "../../src/net/control/messages.ts";
import { advanceCoordinator, createCoordinator } from "../../src/net/coordinator/coordinatorState.ts";
import type { CoordinatorAction, CoordinatorEvent, SavedGroup } from "../../src/net/coordinator/types.ts";
import type { CoordinatorSettings, CoordinatorState } from "../../src/net/coordinator/types.ts";

type Hello = MessageOf<MemberMessage, "hello">;

export const IDENTITY: Identity = {
  run: "small",
  version: "0.1.0",
  configDigest: "c0ffee00",
  tokenizerHash: "70ce0000",
  virtualWorkers: 8,
  probe: "bea70000",
};

/** A digest for a step; a suffix makes another one. */
export function digestOf(step: number, other = 0): string {
  return `d${other}${step.toString(16).padStart(6, "0")}`;
}

export function hello(index: number, changes: Partial<Hello> = {}): Hello {
  const appliedStep = changes.appliedStep ?? 0;
  return {
    type: "hello",
    protocol: PROTOCOL,
    ...IDENTITY,
    memberId: `m${index}`,
    process: index.toString(16).padStart(16, "0"),
    url: `ws://127.0.0.1:${9000 + index}/`,
    group: null,
    survives: (changes.group ?? null) !== null,
    isProven: false,
    appliedStep,
    digest: digestOf(appliedStep),
    isBlank: false,
    keeps: "nowhere",
    held: null,
    config: null,
    ...changes,
  };
}

export class Bench {
  state: CoordinatorState;
  now = 0;
  actions: CoordinatorAction[] = [];

  constructor(settings: Partial<CoordinatorSettings> = {}, saved: SavedGroup | null = null) {
    const all = { minMembers: 1, waitMs: 10_000, heartbeatMs: 1000, force: false, ...settings };
    this.state = createCoordinator(all, saved);
  }

  /** What an event leads to. */
  does(event: CoordinatorEvent): CoordinatorAction[] {
    const { state, actions } = advanceCoordinator(this.state, event, this.now);
    for (const action of actions) {
      if (action.kind === "send") parseCoordinatorMessage(JSON.stringify(action.message));
    }
    this.state = state;
    this.actions = actions;
    return actions;
  }

  says(link: number, message: MemberMessage): CoordinatorAction[] {
    return this.does({ kind: "message", link, message: parseMemberMessage(JSON.stringify(message)) });
  }

  joins(index: number, changes: Partial<Hello> = {}): CoordinatorAction[] {
    return this.says(index, hello(index, changes));
  }

  /** Lets time pass, with a tick each half heartbeat, while the members with these links are heard. */
  passes(ms: number, heard: readonly number[] = []): void {
    for (const end = this.now + ms; this.now < end;) {
      this.now = Math.min(end, this.now + 500);
      for (const link of heard) {
        this.says(link, {
          type: "heartbeat",
          epoch: this.state.epoch,
          step: 0,
          tokensPerSecond: 1,
          exposedShare: 0,
          computed: 0,
        });
      }
      this.does({ kind: "tick" });
    }
  }

  /** Members say that they are ready for the step under way. */
  ready(
    links: readonly number[],
    changes: Partial<MessageOf<MemberMessage, "ready">> = {},
  ): CoordinatorAction[] {
    const { epoch, step } = this.state;
    return links.flatMap((link) => {
      const digest = digestOf(step + 1);
      return this.says(link, {
        type: "ready",
        epoch,
        step: step + 1,
        digest,
        workMs: 10,
        slowest: null,
        ...changes,
      });
    });
  }

  /** All members that were told to abort say what they have. */
  answers(...indices: readonly number[]): CoordinatorAction[] {
    const { step, epoch, epochMembers } = this.state;
    const group = { epoch, members: [...epochMembers] };
    return indices.flatMap((index) => this.joins(index, { appliedStep: step, group }));
  }
}

/** The messages of a kind among actions, with the links that they go to. */
export function sent<T extends CoordinatorMessage["type"]>(
  actions: readonly CoordinatorAction[],
  type: T,
): { link: number; message: MessageOf<CoordinatorMessage, T> }[] {
  return actions.flatMap((action) => {
    if (action.kind !== "send" || !isOf(action.message, type)) return [];
    return [{ link: action.link, message: action.message }];
  });
}

function isOf<T extends CoordinatorMessage["type"]>(
  message: CoordinatorMessage,
  type: T,
): message is MessageOf<CoordinatorMessage, T> {
  return message.type === type;
}

/** The links that a kind of message goes to. */
export function links(actions: readonly CoordinatorAction[], type: CoordinatorMessage["type"]): number[] {
  return sent(actions, type).map(({ link }) => link);
}
