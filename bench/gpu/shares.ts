/** Shares of a card's peak that rows reach, beside PyTorch's times. */
import type { PeerResult } from "../against.js";
import { figure, percent } from "../figures/format.js";
import type { Measured } from "../measure.js";
import { type Card, cards } from "../steps/cards.js";

/** A row with its shares of the peak; a share is absent where the card is not known or the row has no such cost. */
export interface Share {
  readonly name: string;
  readonly ms: number;
  readonly tflops?: number;
  readonly gbPerS?: number;
  /** Of the peak rate of products in the row's precision. */
  readonly ofProducts?: number;
  /** Of the peak memory bandwidth, and of the bandwidth that copies reached. */
  readonly ofMemory?: number;
  readonly ofCopies?: number;
  /** PyTorch's times in the same precision, and with AMP in bf16. */
  readonly torchMs?: number;
  readonly bf16Ms?: number;
}

export interface Peaks {
  readonly card: Card | undefined;
  /** Bandwidth of copies, if it was measured. */
  readonly copyGbPerS: number | undefined;
}

/** Finds the card of an adapter by its name. */
export function cardOf(adapter: string): Card | undefined {
  return cards.find(({ name }) => adapter.toLowerCase().includes(name.toLowerCase()));
}

/** Computes the shares of a row. */
export function shareOf(
  { name, medianMs, gflopPerS, gbPerS }: Measured,
  half: boolean,
  { card, copyGbPerS }: Peaks,
): Share {
  const tflops = gflopPerS === undefined ? undefined : gflopPerS / 1000;
  const peak = card && (half ? card.f16Tflops : card.f32Tflops);
  return {
    name,
    ms: medianMs,
    ...(tflops !== undefined && { tflops, ...(peak !== undefined && { ofProducts: tflops / peak }) }),
    ...(gbPerS !== undefined && {
      gbPerS,
      ...(card && { ofMemory: gbPerS / card.gbPerS }),
      ...(copyGbPerS !== undefined && { ofCopies: gbPerS / copyGbPerS }),
    }),
  };
}

/** Adds PyTorch's times: of the row of the same name, and for a row in f16 of its counterpart in bf16. */
export function besideTorch(share: Share, torch: PeerResult["rows"]): Share {
  const named = new Map(torch.map(({ name, medianMs }) => [name, medianMs]));
  const torchMs = named.get(share.name);
  const bf16Ms = share.name.endsWith(", f16") ? named.get(share.name.replace(/, f16$/, ", bf16")) : undefined;
  return { ...share, ...(torchMs !== undefined && { torchMs }), ...(bf16Ms !== undefined && { bf16Ms }) };
}

/** Formats shares as a Markdown table. */
export function sharesTable(shares: readonly Share[]): string {
  const number = (value: number | undefined) => (value === undefined ? "" : figure(value));
  const share = (value: number | undefined) => (value === undefined ? "" : percent(value));
  return [
    "| row | ms | TFLOP/s | of peak | GB/s | of peak | of copies | PyTorch, ms | its time to ours | bf16, ms |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...shares.map(({ name, ms, tflops, ofProducts, gbPerS, ofMemory, ofCopies, torchMs, bf16Ms }) => {
      const ratio = torchMs === undefined ? "" : (torchMs / ms).toFixed(2);
      const rates = [number(tflops), share(ofProducts), number(gbPerS), share(ofMemory), share(ofCopies)];
      return `| ${[name, number(ms), ...rates, number(torchMs), ratio, number(bf16Ms)].join(" | ")} |`;
    }),
  ].join("\n");
}
