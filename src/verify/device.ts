import type { Gpu } from "../gpu/device.ts";
import { type OpCase, opCases } from "../ops/cases.ts";
import { checkCase } from "../ops/check.ts";
import type { Comparison } from "./comparison.ts";

/** What the ops run on. */
export interface DeviceDescription {
  readonly adapter: string;
  /** Its maker and, where it can be known, its version. */
  readonly driver: string;
  readonly isSoftware: boolean;
  /** Lanes of a subgroup, fewest and most. */
  readonly subgroupSize: readonly [number, number];
  readonly hasTimestamps: boolean;
  /** Bytes, and counts. */
  readonly limits: Readonly<Record<string, number>>;
}

/** Vendors by their PCI or Khronos id, which is how WebGPU on Vulkan names them. */
const VENDORS: Readonly<Record<number, string>> = {
  0x1002: "AMD",
  0x106b: "Apple",
  0x10de: "NVIDIA",
  0x13b5: "Arm",
  0x5143: "Qualcomm",
  0x8086: "Intel",
  0x10005: "Mesa",
};

export async function describeDevice(
  { device, adapterName, isSoftware, hasTimestamps, limits }: Gpu,
): Promise<DeviceDescription> {
  const { vendor, subgroupMinSize, subgroupMaxSize } = device.adapterInfo;
  const maker = VENDORS[Number(vendor)] ?? (vendor || "unknown");
  const version = maker === "NVIDIA" ? await nvidiaVersion() : null;
  const { maxBinding, maxBuffer, maxGroups, workgroupMemory, workgroupSize } = limits;
  return {
    adapter: adapterName,
    driver: version === null ? maker : `${maker} ${version}`,
    isSoftware,
    subgroupSize: [subgroupMinSize, subgroupMaxSize],
    hasTimestamps,
    limits: { maxBinding, maxBuffer, maxGroups, workgroupMemory, workgroupSize },
  };
}

/** WebGPU does not tell; NVIDIA's kernel module does, on Linux. */
async function nvidiaVersion(): Promise<string | null> {
  try {
    const text = await Deno.readTextFile("/proc/driver/nvidia/version");
    return text.match(/\b\d+\.\d+(\.\d+)?\b/)?.[0] ?? null;
  } catch {
    return null;
  }
}

/** What an op's cases came to. */
export interface OpResult {
  readonly op: OpCase["op"];
  readonly comparisons: readonly Comparison[];
  /** Why some cases could not be run: they do not fit the limits. */
  readonly notRun: readonly string[];
}

/**
 * Runs every case of every op, forward and backward, on the GPU and in f64 on the CPU.
 *
 * @param onCase called before each case
 */
export async function* verifyOps(
  gpu: Gpu,
  onCase: (opCase: OpCase) => void = () => {},
): AsyncGenerator<OpResult> {
  for (const [op, cases] of Map.groupBy(opCases, ({ op }) => op)) {
    const comparisons: Comparison[] = [];
    const notRun: string[] = [];
    for (const opCase of cases) {
      onCase(opCase);
      try {
        comparisons.push(...await checkCase(gpu, opCase));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        notRun.push(`${op} ${opCase.name}: ${error.message}`);
      }
    }
    yield { op, comparisons, notRun };
  }
}
