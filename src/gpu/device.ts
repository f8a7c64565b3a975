/**
 * Opens the GPU, and turns its ways of failing into errors that a user can act on.
 */
import { RetryError, UserError } from "../errors.ts";
import { type Dialect, probeDialect, SUBGROUPS, WIDE_WORDS } from "./dialect.ts";
import { Pipelines } from "./pipelines.ts";
import type { EngineLimits } from "./tensor.ts";

export interface GpuOptions {
  /** A device of the caller's; otherwise one is opened. */
  readonly device?: GPUDevice;
  /** Caps storage bindings below the adapter's limit, in bytes. */
  readonly maxBinding?: number | null;
}

export interface Gpu {
  readonly device: GPUDevice;
  readonly adapterName: string;
  /** Names adapter and driver in the tuner's cache. */
  readonly adapterKey: string;
  readonly isSoftware: boolean;
  readonly limits: EngineLimits;
  readonly hasTimestamps: boolean;
  readonly pipelines: Pipelines;
  readonly dialect: Dialect;
  /** @throws RetryError after the device was lost, Error after an uncaptured validation error. */
  check(): void;
  /**
   * Runs `create` and waits for its error scopes.
   *
   * @param advice what the user can do if there is too little memory
   * @throws UserError if memory ran out, Error if it was invalid
   */
  scoped<T>(what: string, advice: string, create: () => T): Promise<T>;
  close(): void;
}

/** The limits that we ask for: as much as the adapter has. */
const RAISED = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** @throws UserError if there is no adapter. */
export async function openGpu({ device, maxBinding = null }: GpuOptions = {}): Promise<Gpu> {
  const owned = device === undefined;
  let info: GPUAdapterInfo;
  if (device === undefined) {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (adapter === null || adapter === undefined) {
      throw new UserError(
        "No GPU adapter found, expected a Vulkan, Metal or DirectX 12 driver: run sh setup.sh, which installs a software driver where there is no GPU",
      );
    }
    info = adapter.info;
    const requiredLimits: Record<string, number> = {};
    for (const name of RAISED) requiredLimits[name] = adapter.limits[name];
    device = await requestDevice(adapter, requiredLimits);
  } else {
    info = device.adapterInfo;
  }
  return watch(device, info, owned, maxBinding, await probeDialect(device));
}

function isSoftware(info: GPUAdapterInfo): boolean {
  return info.isFallbackAdapter || /llvmpipe|swiftshader|WARP/i.test(nameOf(info));
}

function nameOf(info: GPUAdapterInfo): string {
  return info.description || info.device || info.vendor || "unnamed adapter";
}

/**
 * A device with the optional features that we use. Some are granted by adapters that do not list them, so that asking
 * is the only way to know: the most first.
 */
async function requestDevice(
  adapter: GPUAdapter,
  requiredLimits: Record<string, number>,
): Promise<GPUDevice> {
  const listed: GPUFeatureName[] = adapter.features.has("timestamp-query") ? ["timestamp-query"] : [];
  const ask = (wish: readonly GPUFeatureName[]) =>
    adapter.requestDevice({ requiredLimits, requiredFeatures: [...listed, ...wish] });
  for (const wish of isSoftware(adapter.info) ? [[SUBGROUPS, WIDE_WORDS], [SUBGROUPS]] : [[SUBGROUPS]]) {
    try {
      return await ask(wish);
    } catch {
      // Not granted: with less, then.
    }
  }
  return await ask([]);
}

function watch(
  device: GPUDevice,
  info: GPUAdapterInfo,
  owned: boolean,
  cap: number | null,
  dialect: Dialect,
): Gpu {
  let failure: Error | null = null;
  let isClosed = false;
  device.lost.then(({ message }) => {
    // A lost device refuses commands too: the loss is the cause, unless memory had run out before.
    if (isClosed || failure instanceof UserError) return;
    failure = new RetryError(
      `The GPU was lost (${message || "no reason given"}): start again to resume from the last checkpoint`,
    );
  });
  const onError = (event: Event) => {
    event.preventDefault();
    // By name: another implementation's device has classes of its own.
    const { error } = event as GPUUncapturedErrorEvent;
    failure ??= error.constructor.name === "GPUOutOfMemoryError"
      ? outOfMemory("the step", "lower train.microBatchSize or set engine.recompute=true")
      : new Error(`The GPU refused a command: ${error.message}`);
  };
  device.addEventListener("uncapturederror", onError);

  const { limits } = device;
  return {
    device,
    adapterName: nameOf(info),
    adapterKey: [info.vendor, info.architecture, info.device, info.description].join("|"),
    isSoftware: isSoftware(info),
    pipelines: new Pipelines(),
    dialect,
    hasTimestamps: device.features.has("timestamp-query"),
    limits: {
      // Windows start at multiples of 256 bytes, so that the last 255 bytes of a binding may go unused.
      maxBinding: Math.min(limits.maxStorageBufferBindingSize, cap ?? Infinity),
      maxBuffer: limits.maxBufferSize,
      maxGroups: limits.maxComputeWorkgroupsPerDimension,
      workgroupMemory: limits.maxComputeWorkgroupStorageSize,
      workgroupSize: limits.maxComputeInvocationsPerWorkgroup,
      subgroupSize: device.features.has(SUBGROUPS) ? info.subgroupMinSize : 0,
      isSoftware: isSoftware(info),
    },
    check() {
      if (failure !== null) throw failure;
    },
    async scoped(what, advice, create) {
      device.pushErrorScope("out-of-memory");
      device.pushErrorScope("validation");
      const made = create();
      const invalid = await device.popErrorScope();
      const full = await device.popErrorScope();
      if (full !== null) throw outOfMemory(what, advice);
      if (invalid !== null) throw new Error(`${what}: ${invalid.message}`);
      return made;
    },
    close() {
      isClosed = true;
      device.removeEventListener("uncapturederror", onError);
      if (owned) device.destroy();
    },
  };
}

function outOfMemory(what: string, advice: string): UserError {
  return new UserError(
    `The GPU has too little memory for ${what}: ${advice}; --dry-run shows what a run takes`,
  );
}
