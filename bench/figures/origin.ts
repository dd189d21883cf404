/** Commit and time of a measurement. */
export interface Origin {
  readonly commit: string;
  /** ISO 8601. */
  readonly date: string;
}
