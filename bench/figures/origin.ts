/** Of which commit figures are, and when they were measured. */
export interface Origin {
  readonly commit: string;
  /** ISO 8601. */
  readonly date: string;
}
