/** Search for the images most like a file. */
import { useCallback, useState } from "preact/hooks";
import type { SearchResult } from "../../explorer/api.js";
import type { Attempts } from "../shell/use-trouble.js";
import { search } from "./source.js";

export interface SearchState {
  readonly isSearching: boolean;
  readonly name: string | undefined;
  readonly result: SearchResult | undefined;
  readonly find: (file: Blob, name: string) => Promise<void>;
  readonly clear: () => void;
}

export function useSearch(attempt: Attempts["attempt"]): SearchState {
  const [found, setFound] = useState<{ readonly name: string; readonly result: SearchResult | undefined }>();
  const find = useCallback(
    (file: Blob, name: string) =>
      attempt(async () => {
        setFound({ name, result: undefined });
        try {
          setFound({ name, result: await search(file) });
        } catch (error) {
          setFound(undefined);
          throw error;
        }
      }),
    [attempt],
  );
  return {
    isSearching: found !== undefined && found.result === undefined,
    name: found?.name,
    result: found?.result,
    find,
    clear: () => setFound(undefined),
  };
}
