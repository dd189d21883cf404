/** Returns the error message of a rejected promise. Throws if the promise is fulfilled. */
export async function rejection(promise: PromiseLike<unknown>): Promise<string> {
  return (await rejectedWith(promise)).message;
}

/** Returns the error of a rejected promise. Throws if the promise is fulfilled. */
export async function rejectedWith(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected a rejection, and the promise was fulfilled");
}
