/**
 * Which of a machine's GPUs a process uses. WebGPU in Deno opens the first that Vulkan names; Mesa's device select
 * layer, which lies before every vendor's driver, lists them and puts another first.
 */
import { UserError } from "../errors.ts";

/** A GPU of this machine, or a software driver. */
export interface ListedGpu {
  readonly name: string;
  /** `discrete GPU`, `integrated GPU`, `virtual GPU`, `CPU` or `other`. */
  readonly kind: string;
  /** Vendor and device as the PCI bus knows them: equal for GPUs of the same model. */
  readonly model: string;
  /** On the PCI bus, such as `0000:65:00.0`; null: a software driver has none. */
  readonly address: string | null;
}

/** From those to use first on. */
const KINDS = ["discrete GPU", "integrated GPU", "virtual GPU", "other", "CPU"];
const LAYER = "Mesa's device select layer (package mesa-vulkan-drivers)";

/**
 * The GPUs of this machine that a process can be given, discrete ones first, then by their place on the bus. Software
 * drivers count only where there is nothing else. Takes a tenth of a second and a process of its own, as only a process
 * that opens no GPU can list them: `--allow-run=deno`.
 *
 * @throws UserError where they can't be listed: outside of Linux, in a program made with `deno compile`, or without
 *   Mesa's layer
 *
 * @example
 * ```ts ignore
 * const gpus = await listGpus();
 * selectGpu(gpus[1]); // before the first GPU is opened
 * ```
 */
export async function listGpus(): Promise<readonly ListedGpu[]> {
  if (Deno.build.os !== "linux" || Deno.build.standalone) {
    const where = Deno.build.os === "linux" ? "in a compiled program" : `on ${Deno.build.os}`;
    throw new UserError(`GPUs can't be listed ${where}`);
  }
  const { stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "await navigator.gpu.requestAdapter()"],
    env: { DENO_WEBGPU_BACKEND: "vulkan", MESA_VK_DEVICE_SELECT: "list" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const gpus = parseGpus(new TextDecoder().decode(stderr));
  if (gpus.length > 0) return gpus;
  throw new UserError(`GPUs can't be listed: install ${LAYER}, which also chooses among them`);
}

/** What Mesa's layer lists, in the order of {@linkcode listGpus}. */
export function parseGpus(text: string): readonly ListedGpu[] {
  // GPU 0: 10de:2330 "NVIDIA H100" discrete GPU 0000:65:00.0
  const lines = text.matchAll(
    /^ *GPU \d+: ([\da-f]+:[\da-f]+) "(.*)" (.*?)(?: ([\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.\d))?$/gm,
  );
  const all = [...lines].map(([, model, name, kind, address = null]) => ({ name, kind, model, address }));
  const gpus = all.some(({ kind }) => kind !== "CPU") ? all.filter(({ kind }) => kind !== "CPU") : all;
  const rank = ({ kind }: ListedGpu) => KINDS.indexOf(KINDS.includes(kind) ? kind : "other");
  return gpus.sort((a, b) => rank(a) - rank(b) || compare(a.address ?? "", b.address ?? ""));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Makes `gpu` the one that this process opens, its Workers and the processes that it starts included; to be called
 * before the first GPU is opened. Takes `--allow-env`.
 *
 * @throws UserError if it has no place on the bus, by which it could be told from others
 */
export function selectGpu({ name, address }: ListedGpu): void {
  if (address === null) throw new UserError(`${name} has no place on the PCI bus, and can't be selected`);
  Deno.env.set("DRI_PRIME", `pci-${address.replaceAll(/[:.]/g, "_")}`);
  Deno.env.set("MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE", "1");
}

/** Has whoever started this process said which GPU it is to use? */
export function isGpuSelected(env: Readonly<Record<string, string | undefined>>): boolean {
  return Boolean(env.DRI_PRIME || env.MESA_VK_DEVICE_SELECT);
}

/**
 * The GPU for process `rank` of those that share this machine: all get one of the first's model, as others might
 * compute other bits; where there are more processes than GPUs, several share one.
 *
 * @example
 * ```ts
 * const h100 = { name: "H100", kind: "discrete GPU", model: "10de:2330", address: "0000:65:00.0" };
 * gpuOfProcess([h100, { ...h100, address: "0000:66:00.0" }], 3).address; // "0000:66:00.0"
 * ```
 */
export function gpuOfProcess(gpus: readonly ListedGpu[], rank: number): ListedGpu {
  const alike = gpus.filter(({ model }) => model === gpus[0].model);
  return alike[rank % alike.length];
}
