import type { Identity, Setting } from "../control/messages.ts";

/** What is compared, and what helps to explain it. */
interface Introduced extends Identity {
  /** null: it is not known. */
  readonly config: readonly Setting[] | null;
}

/** Settings that are named where configs differ. */
const MAX_NAMED = 3;
const MAX_VALUE_CHARS = 40;

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
export function explainMismatch(ours: Introduced, theirs: Introduced): string | null {
  for (const [key, explain] of EXPLANATIONS) {
    if (theirs[key] === ours[key]) continue;
    const settings = key === "configDigest" ? explainSettings(ours.config ?? [], theirs.config ?? []) : null;
    return settings ?? explain(short(theirs[key]), short(ours[key]));
  }
  return null;
}

/** The first settings that differ, with both values; null: none is known to. */
function explainSettings(ours: readonly Setting[], theirs: readonly Setting[]): string | null {
  if (ours.length === 0 || theirs.length === 0) return null;
  const [own, other] = [new Map(ours), new Map(theirs)];
  const names = [...new Set([...other.keys(), ...own.keys()])];
  const differing = names.filter((name) => own.get(name) !== other.get(name));
  if (differing.length === 0) return null;
  const named = differing.slice(0, MAX_NAMED).map((name) => {
    return `${name} is ${describeValue(other.get(name))}, the group's is ${describeValue(own.get(name))}`;
  });
  const rest = differing.length - named.length;
  const more = rest === 0 ? [] : [`${rest} more ${rest === 1 ? "key differs" : "keys differ"}`];
  return `Its config is another one: ${[...named, ...more].join("; ")}; start it with the same config`;
}

function describeValue(value: string | undefined): string {
  if (value === undefined) return "not there";
  return value.length <= MAX_VALUE_CHARS ? value : `${value.slice(0, MAX_VALUE_CHARS - 1).toWellFormed()}…`;
}

function short(value: string | number): string {
  return /^[0-9a-f]{13,}$/.test(`${value}`) ? `${value}`.slice(0, 12) : `${value}`;
}
