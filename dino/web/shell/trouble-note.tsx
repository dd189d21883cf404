/** Shows an error, with a button if a new device may help. */
import type { Trouble } from "./trouble.js";

interface TroubleNoteProps {
  readonly trouble: Trouble;
  /** Tries again on a new device. */
  readonly goOn?: () => void;
}

export function TroubleNote({ trouble: { message, advice, isOfDevice }, goOn }: TroubleNoteProps) {
  return (
    <div class="warning" role="alert">
      <p>{[message, advice].filter((sentence) => sentence !== "").join(". ")}</p>
      {isOfDevice && goOn && (
        <button type="button" onClick={goOn}>
          Go on
        </button>
      )}
    </div>
  );
}

/** Converts a thrown value to a `Trouble`; threads throw one already. */
export function asTrouble(error: unknown): Trouble {
  if (typeof error === "object" && error !== null && "isOfDevice" in error) return error as Trouble;
  return { message: error instanceof Error ? error.message : String(error), advice: "", isOfDevice: false };
}
