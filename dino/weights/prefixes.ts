/** The part of a file that holds a network: names of larger models begin with the path of the network in them. */
import { joinNames } from "../files/text.js";

/** The patch projection, of which every ViT has one, in the official names, timm's and Hugging Face's. */
const PROJECTION = /^(|.*\.)(?:patch_embed\.proj|embeddings\.patch_embeddings(?:\.projection)?)\.weight$/;

/** Whether a name is that of the patch projection, behind any prefix. */
export function isProjection(name: string): boolean {
  return PROJECTION.test(name);
}

/** What comes before the names of a network. */
export interface Prefix {
  readonly prefix: string;
  /** Whether the user chose it, so that other tensors are of no interest. */
  readonly isChosen: boolean;
}

/**
 * Finds the prefix of the network among the names of a file: that of the patch projection, without `backbone.`, beside which
 * heads are. Throws, naming `--prefix`, if there are several networks, or not one under `wanted`, which may be the first part of a prefix.
 */
export function findPrefix(names: readonly string[], wanted: string | undefined): Prefix {
  const networks = names.flatMap((name) => PROJECTION.exec(name)?.[1] ?? []);
  const list = joinNames(networks.map((prefix) => prefix || "no prefix"));
  if (wanted === undefined) {
    if (networks.length > 1)
      throw new Error(`the file holds several networks, under ${list}; choose one with dino import --prefix`);
    return { prefix: withoutBackbone(networks[0] ?? ""), isChosen: false };
  }
  const prefix = wanted.endsWith(".") ? wanted : `${wanted}.`;
  if (networks.some((network) => network === prefix || withoutBackbone(network) === prefix))
    return { prefix, isChosen: true };
  const [within, other] = networks.filter((network) => network.startsWith(prefix));
  if (within !== undefined && other === undefined) return { prefix: within, isChosen: true };
  throw new Error(`--prefix ${wanted}: expected the prefix of a network, ${list || "of which the file has none"}`);
}

function withoutBackbone(prefix: string): string {
  return prefix.replace(/(^|\.)backbone\.$/, "$1");
}
