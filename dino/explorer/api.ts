/** The API between `dino explore` and its page, below `api/explore/`: types only, for Node and browsers. */

/** `GET map.json`: what the page shows. */
export interface MapFacts {
  readonly title: string;
  /** The folder of the images. */
  readonly data: string;
  readonly rows: number;
  /** Changes with the map; other addresses carry it, so that browsers may keep what they fetched. */
  readonly version: string;
  /** Whether a server answers: a static copy has no search, no similarities and keeps no labels. */
  readonly isLive: boolean;
  /** Whether larger pictures can be had; otherwise thumbnails are shown. */
  readonly hasPictures: boolean;
  /** Rows of a group of thumbnails. */
  readonly groupRows: number;
}

/** `GET names.json`: the file of each row. */
export type FileNames = readonly string[];

/** `GET columns.json`: what the points can be coloured by. */
export type Columns = readonly Column[];

export type Column =
  | {
      readonly kind: "names";
      readonly name: string;
      readonly names: readonly string[];
      /** An index of `names` for each row, or -1. */
      readonly codes: readonly number[];
    }
  | { readonly kind: "numbers"; readonly name: string; readonly numbers: readonly (number | null)[] };

/** A similar image. */
export interface SimilarImage {
  readonly row: number;
  /** Cosine between the features. */
  readonly similarity: number;
}

/** The header of `GET groups/N.bin`: its length in four bytes, then itself as JSON, then the thumbnails. */
export interface GroupHeader {
  /** Bytes of the thumbnail of each row of the group; 0 for none. */
  readonly sizes: readonly number[];
  /** The nearest neighbours of each row. */
  readonly neighbors: readonly (readonly SimilarImage[])[];
}

/** `POST search`, with a file: the most similar images. */
export type SearchResult = readonly SimilarImage[];

/** `POST choose`, with the number of images `{ count }`: rows that are worth labelling. */
export type ChosenRows = readonly number[];

/** `POST suggest`: labels for all images by those that are labelled. */
export interface Suggestions {
  /** The label of each image, and how likely it is. */
  readonly columns: Columns;
  /** Share of the labelled images whose label the others find, 0 to 1. */
  readonly accuracy: number;
}

/** `GET labels.json`, and `POST labels`: labels by row; null takes one away. */
export type RowLabels = readonly { readonly row: number; readonly label: string | null }[];
