/** What all pages have in common: their name, the way to the others, and what is to be said of the whole. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";

const PAGES = [
  { address: "./", name: "Runs" },
  { address: "./viewer.html", name: "Viewer" },
  { address: "./train.html", name: "Train" },
] as const;

interface PageProps {
  readonly name: (typeof PAGES)[number]["name"];
  readonly title: string;
  /** How it stands, in a few words. */
  readonly status: string;
  /** Whether that is something gone wrong. */
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
        <nav aria-label="Pages">
          {PAGES.map((page) => (
            <a key={page.name} href={page.address} aria-current={page.name === name ? "page" : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
      </header>
      <main>{children}</main>
      <footer>
        <a href="./licenses.md">Licences of what this page is made of</a>
      </footer>
    </>
  );
}

/** Whether nobody sees the page: another tab is in front of it, or its window is put away. */
export function useHidden(): boolean {
  const [isHidden, setHidden] = useState(document.hidden);
  useEffect(() => {
    const look = () => setHidden(document.hidden);
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return isHidden;
}
