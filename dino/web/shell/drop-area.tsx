/** The area that accepts dropped and pasted files. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

/** Receives a file of the visitor. */
export type TakeFile = (file: Blob, name: string) => void;

interface DropAreaProps {
  readonly pick: TakeFile;
  readonly children: ComponentChildren;
}

export function DropArea({ pick, children }: DropAreaProps) {
  const [isOver, setOver] = useState(false);
  usePastedFile(pick);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) pick(file, file.name);
  };
  return (
    <div
      class={`drop ${isOver ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      {children}
    </div>
  );
}

function usePastedFile(pick: TakeFile): void {
  useEffect(() => {
    const paste = ({ clipboardData }: ClipboardEvent) => {
      const [file] = clipboardData?.files ?? [];
      if (file) pick(file, file.name);
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, [pick]);
}
