/** The tests that run in a page: files that Node runs as well, and those for the browser alone. */
import "./mocha-in-page.js"; // before the others
import "../engine/ops/ops.test.js";
import "./opening-in-page.js";
