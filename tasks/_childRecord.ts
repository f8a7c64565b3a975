/** What a child has said on stdout when it failed. */
export interface ChildFailure {
  readonly error: string;
  readonly exitCode: number;
}

/** What launch itself looks at in a record. */
export interface ChildRecord {
  readonly [key: string]: unknown;
  readonly url?: string;
  readonly finished?: boolean;
}

/** null: a line that is none of our records, such as a GPU driver's. */
export function parseRecord(line: string): ChildRecord | null {
  try {
    const record: unknown = JSON.parse(line);
    return isRecord(record) ? record : null;
  } catch {
    return null;
  }
}

export function isFailure(record: object): record is ChildFailure {
  return "error" in record && "exitCode" in record;
}

function isRecord(value: unknown): value is ChildRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
