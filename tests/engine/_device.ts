import { testGpu } from "../_gpu.ts";

/** The tests' device, some of whose members are replaced. */
export async function deviceWith(members: Partial<GPUDevice>): Promise<GPUDevice> {
  const { device } = await testGpu();
  return new Proxy(device, {
    get(target, key) {
      if (key in members) return Reflect.get(members, key);
      const member = Reflect.get(target, key, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** The tests' device with other limits. */
export async function deviceLimitedTo(limits: Partial<GPUSupportedLimits>): Promise<GPUDevice> {
  const { device } = await testGpu();
  const get = (target: GPUSupportedLimits, key: string | symbol) =>
    Reflect.get(key in limits ? limits : target, key);
  return await deviceWith({ limits: new Proxy(device.limits, { get }) });
}

/** The tests' device, and the buffers that were made on it and not destroyed yet. */
export async function countedDevice(): Promise<
  { device: GPUDevice; made: GPUBuffer[]; open: Set<GPUBuffer> }
> {
  const { device } = await testGpu();
  const made: GPUBuffer[] = [];
  const open = new Set<GPUBuffer>();
  const createBuffer = (descriptor: GPUBufferDescriptor) => {
    const buffer = device.createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      open.delete(buffer);
      return destroy();
    };
    made.push(buffer);
    open.add(buffer);
    return buffer;
  };
  return { device: await deviceWith({ createBuffer }), made, open };
}
