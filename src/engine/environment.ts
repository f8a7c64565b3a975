/**
 * Asks Deno for Vulkan on Linux unless the user chose a backend: without a Vulkan driver it would fall back to an OpenGL
 * emulation silently. Where the environment may not be changed, Deno's own choice stands.
 */
export function preferVulkan(): void {
  try {
    if (Deno.build.os !== "linux") return;
    if (!Deno.env.has("DENO_WEBGPU_BACKEND")) Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
    if (!Deno.env.has("XDG_RUNTIME_DIR")) Deno.env.set("XDG_RUNTIME_DIR", "/tmp"); // drivers complain without it
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}
