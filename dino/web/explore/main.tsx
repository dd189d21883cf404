/** The page of `dino explore`: a map of all images of a folder. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";
import { Page } from "../shell/page.js";
import { TroubleNote } from "../shell/trouble-note.js";
import { useAttempts } from "../shell/use-trouble.js";
import { Explorer } from "./explorer.js";
import { type MapData, readMapData } from "./source.js";

function Explore() {
  const { trouble, attempt } = useAttempts();
  const [data, setData] = useState<MapData>();
  const [status, setStatus] = useState("Reading the map");
  useEffect(() => {
    void attempt(async () => {
      const found = await readMapData();
      document.title = `${found.facts.title} - DINO map`;
      setData(found);
      setStatus(`${found.facts.rows.toLocaleString("en")} images`);
    });
  }, [attempt]);
  return (
    <Page title={data?.facts.title ?? "DINO map"} status={trouble ? "" : status}>
      {trouble && <TroubleNote trouble={trouble} />}
      {data && <Explorer data={data} />}
    </Page>
  );
}

// A file that is dropped beside the map would replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());

render(<Explore />, document.body);
