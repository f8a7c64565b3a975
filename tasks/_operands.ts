/** What the verbs say of the model that they take. */
export const MODEL_OPERAND = {
  MODEL: "a run (runs/default: its newest checkpoint), a checkpoint, or the folder of a Hugging Face model",
} as const;
