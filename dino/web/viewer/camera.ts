/** The visitor's camera. */

/** Opens the camera, on a phone the one at its back. Throws with advice if there is none or access is denied. */
export async function openCamera(): Promise<HTMLVideoElement> {
  // Insecure pages have no mediaDevices, contrary to the types.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices)
    throw new Error("Browsers offer cameras to secure pages only; open this page over https, or from localhost");
  const stream = await devices.getUserMedia({ video: { facingMode: "environment" } }).catch((error: unknown) => {
    throw new Error(reasonOf(error as DOMException), { cause: error });
  });
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  return video;
}

/** Turns the camera off. */
export function stopCamera({ srcObject }: HTMLVideoElement): void {
  for (const track of (srcObject as MediaStream).getTracks()) track.stop();
}

function reasonOf({ name, message }: DOMException): string {
  switch (name) {
    case "NotAllowedError":
      return "The camera was refused; allow it beside the browser's address bar, then try again";
    case "NotFoundError":
      return "No camera was found; connect one, or open an image";
    case "NotReadableError":
      return "The camera is in use; close the program that uses it, then try again";
    default:
      return `The camera does not open: ${message}`;
  }
}
