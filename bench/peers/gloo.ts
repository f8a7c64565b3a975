/** PyTorch's gloo, where a Python with it is found. */
import { fromFileUrl } from "@std/path";

const SCRIPT = fromFileUrl(new URL("./gloo.py", import.meta.url));

/** The Python that is asked: `python3`, or what BLOOMERY_PYTHON names. */
const python = () => Deno.env.get("BLOOMERY_PYTHON") ?? "python3";

/** What gloo is called in reports; null: it is not installed. */
export async function findGloo(): Promise<string | null> {
  const code = "import torch, torch.distributed as d; assert d.is_gloo_available(); print(torch.__version__)";
  try {
    const { success, stdout } = await run("-c", code);
    return success ? `gloo (PyTorch ${new TextDecoder().decode(stdout).trim()})` : null;
  } catch {
    return null; // no such program
  }
}

/** Milliseconds of an allreduce by the array's bytes. */
export async function timeGloo(members: number, sizes: readonly number[]): Promise<Map<number, number>> {
  const { success, stdout, stderr } = await run(SCRIPT, `${members}`, ...sizes.map(String));
  if (!success) throw new Error(`gloo failed: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  return new Map(lines.map((line) => {
    const { bytes, milliseconds } = JSON.parse(line);
    return [bytes, milliseconds];
  }));
}

function run(...args: string[]): Promise<Deno.CommandOutput> {
  return new Deno.Command(python(), { args, stdout: "piped", stderr: "piped" }).output();
}
