/** The frame of all pages: title, status and navigation. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";

const PAGES = [
  { address: "./", name: "Runs" },
  { address: "./viewer.html", name: "Viewer" },
  { address: "./train.html", name: "Train" },
] as const;

interface PageProps {
  /** Its name in the navigation; left out by a page that stands alone. */
  readonly name?: (typeof PAGES)[number]["name"];
  readonly title: string;
  /** Short status. */
  readonly status: string;
  /** Whether the status is an error. */
  readonly isTrouble?: boolean;
  readonly children: ComponentChildren;
}

export function Page({ name, title, status, isTrouble = false, children }: PageProps) {
  return (
    <>
      <header>
        <h1>{title}</h1>
        <p role="status" class={isTrouble ? "trouble" : "quiet"}>
          {status}
        </p>
        {name !== undefined && (
          <nav aria-label="Pages">
            {PAGES.map((page) => (
              <a key={page.name} href={page.address} aria-current={page.name === name ? "page" : undefined}>
                {page.name}
              </a>
            ))}
          </nav>
        )}
      </header>
      <main>{children}</main>
      <footer>
        <a href="./licenses.md">Licences of bundled software</a>
      </footer>
    </>
  );
}

/** Whether the page is hidden: another tab is in front, or the window is minimised. */
export function useHidden(): boolean {
  const [isHidden, setHidden] = useState(document.hidden);
  useEffect(() => {
    const update = () => setHidden(document.hidden);
    document.addEventListener("visibilitychange", update);
    return () => document.removeEventListener("visibilitychange", update);
  }, []);
  return isHidden;
}
