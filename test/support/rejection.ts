/** The message of what a promise is rejected with; fails where it is fulfilled. */
export async function rejection(promise: PromiseLike<unknown>): Promise<string> {
  return (await rejectedWith(promise)).message;
}

/** The error that a promise is rejected with; fails where it is fulfilled. */
export async function rejectedWith(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected a rejection, and the promise was fulfilled");
}
