import { createHash } from "node:crypto";
import { basename, join } from "@std/path";
import { z } from "zod";
import { writeSynced } from "../data/atomicFile.ts";
import { UserError } from "../errors.ts";
import { messageOf } from "../formats/file.ts";

const NAME = "manifest.json";
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const contentsSchema = z.strictObject({
  step: z.int().min(0),
  /** See digest.ts. */
  digest: sha256,
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), sha256 })),
});
const manifestSchema = contentsSchema.extend({ checksum: sha256 });

/** What a checkpoint folder holds. */
export type Manifest = Readonly<z.infer<typeof contentsSchema>>;

/** Writes a folder's manifest.json and fsyncs it. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const sealed = { ...manifest, checksum: checksumOf(manifest) };
  await writeSynced(join(folder, NAME), JSON.stringify(sealed, null, 2));
}

/**
 * Reads a folder's manifest and checks every file against it, sizes first.
 *
 * @throws UserError that names the file that is damaged or missing
 */
export async function verifyManifest(folder: string): Promise<Manifest> {
  const manifest = await checkSizes(folder);
  for (const [name, { sha256 }] of Object.entries(manifest.files)) {
    if ((await hashFile(join(folder, name))).sha256 !== sha256) {
      throw damaged(folder, name, "its SHA-256 differs");
    }
  }
  return manifest;
}

/** As `verifyManifest`, but takes no look into the files, which may be large. */
export async function checkSizes(folder: string): Promise<Manifest> {
  const { checksum, ...manifest } = await readManifest(folder);
  if (checksum !== checksumOf(manifest)) throw damaged(folder, NAME, "its checksum differs");
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const size = await Deno.stat(join(folder, name)).then((info) => info.size, () => null);
    if (size === null) throw damaged(folder, name, "it is missing");
    if (size !== bytes) throw damaged(folder, name, `it has ${size} bytes, expected ${bytes}`);
  }
  return manifest;
}

async function readManifest(folder: string) {
  let json: unknown;
  try {
    json = JSON.parse(await Deno.readTextFile(join(folder, NAME)));
  } catch (error) {
    throw damaged(folder, NAME, messageOf(error));
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw damaged(folder, NAME, "it is not a manifest");
  return parsed.data;
}

/** The manifest has a seal of its own: a flipped digit in the digest is noticed too. */
function checksumOf({ step, digest, files }: Manifest): string {
  return createHash("sha256").update(JSON.stringify({ step, digest, files })).digest("hex");
}

async function hashFile(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  using file = await Deno.open(path);
  const chunk = new Uint8Array(1 << 20);
  for (let count; (count = await file.read(chunk)) !== null;) {
    hash.update(chunk.subarray(0, count));
    bytes += count;
  }
  return { bytes, sha256: hash.digest("hex") };
}

function damaged(folder: string, file: string, why: string): UserError {
  return new UserError(`Checkpoint ${basename(folder)} is damaged: ${file}: ${why}`);
}
