/** How many arrays of float32 of a length are made while `work` runs. */
export async function countArrays(length: number, work: () => void | Promise<void>): Promise<number> {
  let count = 0;
  const Array32 = Float32Array;
  globalThis.Float32Array = new Proxy(Array32, {
    construct(target, args, newTarget) {
      if (args[0] === length) count++;
      return Reflect.construct(target, args, newTarget);
    },
  });
  try {
    await work();
  } finally {
    globalThis.Float32Array = Array32;
  }
  return count;
}
