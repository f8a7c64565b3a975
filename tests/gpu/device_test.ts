import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RetryError, UserError } from "../../src/errors.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { Runtime } from "../../src/gpu/program.ts";
import { Arena } from "../../src/gpu/tensor.ts";

/** A device of the caller's: the engine leaves it open. */
async function callersDevice(): Promise<GPUDevice> {
  const adapter = await navigator.gpu.requestAdapter();
  return await adapter!.requestDevice();
}

/** A device, some of whose members are replaced. */
function stub(device: GPUDevice, members: Partial<GPUDevice>): GPUDevice {
  return new Proxy(device, {
    get(target, key) {
      if (key in members) return Reflect.get(members, key);
      const member = Reflect.get(target, key, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** Lets events and settled promises be delivered. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("openGpu() raises the limits to the adapter's and caps bindings where asked", async () => {
  const gpu = await openGpu({ maxBinding: 65536 });
  assertEquals(gpu.limits.maxBinding, 65536);
  assertEquals(gpu.limits.maxBuffer, gpu.device.limits.maxBufferSize);
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  assertEquals(gpu.device.limits.maxBufferSize, adapter?.limits.maxBufferSize);
  gpu.close();
});

Deno.test("openGpu() takes a caller's device, with its limits, and close() leaves it open", async () => {
  const device = await callersDevice();
  const gpu = await openGpu({ device });
  assertEquals(gpu.limits.maxBinding, device.limits.maxStorageBufferBindingSize);
  gpu.close();
  device.pushErrorScope("validation");
  device.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE }).destroy();
  assertEquals(await device.popErrorScope(), null);
  device.destroy();
});

Deno.test("check() throws after an uncaptured validation error", async () => {
  const gpu = await openGpu();
  gpu.check();
  gpu.device.createBuffer({ size: 2 ** 50, usage: GPUBufferUsage.STORAGE });
  await settled();
  assertThrows(() => gpu.check(), Error, "The GPU refused a command: ");
  gpu.close();
});

Deno.test("check() says what to do after the memory ran out while running", async () => {
  const gpu = await openGpu();
  const error = new GPUOutOfMemoryError("no memory");
  gpu.device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  assertThrows(() => gpu.check(), UserError, "too little memory for the step: lower train.microBatchSize");
  gpu.close();
});

Deno.test("scoped() tells too little memory from a mistake", async () => {
  const device = await callersDevice();
  const errors: (GPUError | null)[] = [null, new GPUOutOfMemoryError("no memory")];
  const gpu = await openGpu({
    device: stub(device, { popErrorScope: () => Promise.resolve(errors.shift() ?? null) }),
  });
  await assertRejects(
    () => gpu.scoped("weights", "choose a smaller model", () => 1),
    UserError,
    "too little memory for weights: choose a smaller model; --dry-run",
  );
  errors.push(new GPUValidationError("a mistake"), null);
  await assertRejects(
    () => gpu.scoped("weights", "choose a smaller model", () => 1),
    Error,
    "weights: a mistake",
  );
  assertEquals(await gpu.scoped("weights", "choose a smaller model", () => 1), 1);
  gpu.close();
  device.destroy();
});

Deno.test("check() asks to start again once the device is lost", async () => {
  const device = await callersDevice();
  const { promise, resolve } = Promise.withResolvers<GPUDeviceLostInfo>();
  const gpu = await openGpu({ device: stub(device, { lost: promise }) });
  gpu.check();
  resolve({ reason: "destroyed", message: "the driver was reset" });
  await settled();
  assertThrows(
    () => gpu.check(),
    RetryError,
    "The GPU was lost (the driver was reset): start again to resume",
  );
  gpu.close();
  device.destroy();
});

Deno.test("run, read and idle throw RetryError after a caller destroyed the device", async () => {
  const device = await callersDevice();
  const gpu = await openGpu({ device });
  const runtime = new Runtime(gpu);
  const arena = new Arena("weights", 4096);
  const tensor = arena.add("x", [4]);
  await runtime.allocate(arena);
  device.destroy();
  await device.lost;
  await assertRejects(() => runtime.read(tensor.whole()), RetryError, "The GPU was lost");
  await assertRejects(() => runtime.idle(), RetryError, "The GPU was lost");
  assertThrows(() => runtime.run({ segments: [] }), RetryError, "The GPU was lost");
  gpu.close();
});
