/** Graphics cards that `--plan` predicts times for. */

/** Peak rates of a card, and the shares of them that the prediction assumes. */
export interface Card {
  readonly name: string;
  /** Memory bandwidth in GB/s. */
  readonly gbPerS: number;
  /** f32 arithmetic outside of matrix units, in TFLOP/s. */
  readonly f32Tflops: number;
  /** Products of f16 matrices with f32 sums, dense, by the units that the engine can use, in TFLOP/s. */
  readonly f16Tflops: number;
  /** Time between a dispatch and the next one, which waits for it, in microseconds. */
  readonly usPerDispatch: number;
  /** Share of the bandwidth, and of the arithmetic of products, that kernels reach. */
  readonly shares: { readonly memory: number; readonly products: number };
}

/**
 * Rates are the vendors' (sources beside the rows). Shares and the time of a dispatch are assumptions, equal for cards of one
 * kind, until somebody measures them.
 */
export const cards: readonly Card[] = [
  {
    name: "H200", // NVIDIA H200 datasheet: 4.8 TB/s, 67 and 989 TFLOP/s
    gbPerS: 4800,
    f32Tflops: 67,
    f16Tflops: 989,
    usPerDispatch: 4,
    shares: { memory: 0.6, products: 0.2 },
  },
  {
    name: "RTX 4090", // NVIDIA Ada GPU architecture whitepaper, appendix A: 1,008 GB/s, 82.6 and 165.2 TFLOP/s
    gbPerS: 1008,
    f32Tflops: 82.6,
    f16Tflops: 165.2,
    usPerDispatch: 4,
    shares: { memory: 0.7, products: 0.4 },
  },
  {
    name: "M3 Max", // Apple's specification, 40 cores: 400 GB/s; 40 x 128 lanes x 2 at 1.38 GHz, f16 at the rate of f32
    gbPerS: 400,
    f32Tflops: 14.1,
    f16Tflops: 14.1,
    usPerDispatch: 4,
    shares: { memory: 0.7, products: 0.4 },
  },
  {
    name: "Arc A770", // Intel's specification: 560 GB/s, 512 vector and matrix engines at 2.1 GHz: 16 and 128 operations each
    gbPerS: 560,
    f32Tflops: 17.2,
    f16Tflops: 137.6,
    usPerDispatch: 10,
    shares: { memory: 0.7, products: 0.3 },
  },
  {
    name: "Steam Deck", // Valve's specification: 88 GB/s, 8 units of RDNA 2, 1.6 TFLOP/s; f16 at twice the rate
    gbPerS: 88,
    f32Tflops: 1.6,
    f16Tflops: 3.2,
    usPerDispatch: 10,
    shares: { memory: 0.7, products: 0.4 },
  },
];
