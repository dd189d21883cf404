/** Buttons for a trained model: download it, or open it in the viewer. */
import { storeModel } from "../shell/kept-model.js";
import type { Attempts } from "../shell/use-trouble.js";
import type { RemoteTraining } from "./thread.js";

interface TakeAwayProps {
  readonly thread: RemoteTraining;
  readonly attempt: Attempts["attempt"];
}

export function TakeAway({ thread, attempt }: TakeAwayProps) {
  const download = async () => {
    const { step, bytes } = (await thread.checkpoint())!;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    link.download = `shapes-step-${step}.safetensors`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const openInViewer = async () => {
    const { step, bytes } = (await thread.checkpoint())!;
    await storeModel(bytes, `shapes trained here, step ${step}`);
    location.href = "./viewer.html";
  };
  return (
    <>
      <button type="button" onClick={() => void attempt(download)}>
        Download the checkpoint
      </button>
      <button type="button" onClick={() => void attempt(openInViewer)}>
        Open it in the viewer
      </button>
    </>
  );
}
