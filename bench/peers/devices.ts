/**
 * The peers' devices.
 *
 * Each library makes one device of its own on the process's adapter and keeps it until the process ends; neither
 * takes one from outside. What a benchmark disposes of goes back to the library's pool of buffers.
 */

import * as jax from "@jax-js/jax";
import { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import * as tf from "@tensorflow/tfjs-core";
// For its side effect: it registers the gradients, which tfjs-core has only as modules that Deno cannot resolve.
import "@tensorflow/tfjs-layers";

/**
 * Makes WebGPU the default device of jax-js.
 *
 * @throws Error without a WebGPU adapter.
 */
export async function useJax(): Promise<void> {
  const devices = await jax.init("webgpu");
  if (!devices.includes("webgpu")) throw new Error("jax-js found no WebGPU adapter");
  jax.defaultDevice("webgpu");
}

let watched: WebGPUBackend | undefined;

/**
 * Makes WebGPU the backend of tfjs. A validation error on its device, which tfjs would not notice, ends the process.
 *
 * @throws Error without a WebGPU adapter.
 */
export async function useTfjs(): Promise<WebGPUBackend> {
  if (!await tf.setBackend("webgpu")) throw new Error("tfjs found no WebGPU adapter");
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error("tfjs runs on another backend than WebGPU");
  if (backend !== watched) {
    backend.device.addEventListener("uncapturederror", (event) => {
      if (event instanceof GPUUncapturedErrorEvent) throw new Error(`tfjs: ${event.error.message}`);
    });
    watched = backend;
  }
  return backend;
}
