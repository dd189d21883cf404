import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { openData } from "../../../dino/images/sources/open.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { rejection } from "../../support/rejection.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("texts in place of files", () => {
  const folderOf = temporaryFolders("stand-ins");
  const texts = [
    [
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
      "got a pointer of Git LFS in place of",
    ],
    [`<!DOCTYPE html>\n<html>${"404 ".repeat(300)}</html>`, "got a page of HTML in place of the file"],
    ["\n<html><body>no", "got a page of HTML in place of the file"],
  ] as const;

  for (const [text, message] of texts) {
    it(`are named, as ${JSON.stringify(text.slice(0, 20))}`, async () => {
      const folder = await folderOf();
      const open = (name: string) => openData(join(folder, name)).then((set) => set.decode(0));
      for (const name of ["a.png", "b.tar", "c.parquet", "d.safetensors"]) {
        await writeFile(join(folder, name), text);
        const read = name.endsWith("safetensors") ? importNetwork(join(folder, name)) : open(name);
        expect(await rejection(read), name)
          .to.include(message)
          .and.to.include(name);
      }
    });
  }
});
