import type { Identity } from "../messages.ts";

/** What to say of each property in which a newcomer differs, most telling first. */
const EXPLANATIONS: readonly [keyof Identity, (theirs: string, ours: string) => string][] = [
  ["run", (theirs, ours) => `It is of run "${theirs}", this group trains "${ours}"; join that run's group`],
  [
    "version",
    (theirs, ours) => `It has version ${theirs}, this group ${ours}; use the same version on all nodes`,
  ],
  [
    "virtualWorkers",
    (theirs, ours) => `It has ${theirs} virtual workers, this group ${ours}; set scale.virtualWorkers alike`,
  ],
  [
    "configDigest",
    (theirs, ours) => `Its config (${theirs}) is not this group's (${ours}); start it with the same config`,
  ],
  [
    "tokenizerHash",
    (theirs, ours) => `Its tokenizer (${theirs}) is not this group's (${ours}); give it the same data`,
  ],
  [
    "probe",
    () =>
      `Its adapter computes other bits than this group's; use the same kind of adapter, driver and numeric mode`,
  ],
];

/** Why a newcomer can't train with a group, as one line; null: it can. */
export function explainMismatch(ours: Identity, theirs: Identity): string | null {
  for (const [key, explain] of EXPLANATIONS) {
    if (theirs[key] !== ours[key]) return explain(short(theirs[key]), short(ours[key]));
  }
  return null;
}

function short(value: string | number): string {
  return /^[0-9a-f]{13,}$/.test(`${value}`) ? `${value}`.slice(0, 12) : `${value}`;
}
