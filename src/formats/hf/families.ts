import type { HfFamily } from "./family.ts";
import { bloom } from "./bloom.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeox } from "./gptNeox.ts";
import { llama } from "./llama.ts";
import { t5 } from "./t5.ts";

/** The architectures of Hugging Face that are read and written. No model is expressed by two of them. */
export const HF_FAMILIES: readonly HfFamily[] = [gpt2, bloom, gptNeox, llama, t5];
