import { readLauncherEnvironment } from "../src/api/launcherEnvironment.ts";
import { gpuOfProcess, isGpuSelected, type ListedGpu, listGpus, selectGpu } from "../src/engine/selectGpu.ts";
import { UserError } from "../src/errors.ts";
import type { Flags, Options } from "./_flags.ts";

/** Which GPU a verb uses. */
export const GPU_OPTION = {
  gpu: {
    type: "number",
    help: "use this GPU of the machine, from 0 (default: the first, or as the launcher's variables say)",
  },
} as const satisfies Options;

/**
 * Takes the GPU that `--gpu` names, or else this process' share of the machine where a launcher says which of its
 * processes this is (`LOCAL_RANK`): a GPU or, without one, a part of the processor. To be called before a GPU is opened.
 *
 * @throws UserError for a GPU that there isn't
 */
export async function takeGpu(
  { gpu: index }: Flags<typeof GPU_OPTION>,
  say: (line: string) => void,
): Promise<void> {
  if (index !== undefined) {
    const gpus = await listGpus();
    const gpu = gpus[index];
    if (gpu === undefined) {
      const found = gpus.map((gpu, i) => `${i} (${describeGpu(gpu)})`).join(", ");
      throw new UserError(`--gpu is ${index}, expected one of this machine's GPUs: ${found}`);
    }
    if (gpus.length > 1) selectGpu(gpu);
    return say(`GPU ${index} of ${gpus.length}: ${describeGpu(gpu)}`);
  }
  const env = Deno.env.toObject();
  const { localRank, localNodes } = readLauncherEnvironment(env);
  if (localRank === null || localNodes === 1 || isGpuSelected(env) || Deno.build.os !== "linux") return;
  let gpus: readonly ListedGpu[];
  try {
    gpus = await listGpus();
  } catch (error) {
    // right for a machine with one GPU; with several, slow
    if (error instanceof UserError) return say(`${error.message}; the first is used`);
    throw error;
  }
  const gpu = gpuOfProcess(gpus, localRank);
  if (gpu.kind === "CPU") return limitThreads(localNodes);
  if (gpus.length === 1) return;
  selectGpu(gpu);
  say(`GPU ${gpus.indexOf(gpu)} of ${gpus.length}: ${describeGpu(gpu)}`);
}

/** Mesa's software driver starts a thread for each core otherwise, in every process. */
function limitThreads(processes: number | null): void {
  if (processes === null || Deno.env.get("LP_NUM_THREADS")) return;
  Deno.env.set("LP_NUM_THREADS", `${Math.max(1, Math.floor(navigator.hardwareConcurrency / processes))}`);
}

function describeGpu({ name, address }: ListedGpu): string {
  return address === null ? name : `${name} at ${address}`;
}
