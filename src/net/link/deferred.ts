/** A promise whose rejection may go unheard: whoever is interested waits for it. */
export function deferred<T>(): PromiseWithResolvers<T> {
  const settled = Promise.withResolvers<T>();
  settled.promise.catch(() => {});
  return settled;
}
