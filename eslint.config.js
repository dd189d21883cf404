import { defineConfig } from "eslint/config";
import { importX } from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

// Which folder may import which is checked by dependency-cruiser, see .dependency-cruiser.js.
export default defineConfig(
  { ignores: ["dist/", "api/", "runs/", "coverage/", "node_modules/"] },
  {
    files: ["**/*.ts", "**/*.tsx"],
    extends: [tseslint.configs.strictTypeChecked],
    plugins: { "import-x": importX },
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true, allowArray: true },
      ],
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-shadow": ["error", { ignoreOnInitialization: true, allow: ["_"] }],
      "max-lines": ["error", { max: 400, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": ["error", { max: 80, skipBlankLines: true, skipComments: true }],
      "import-x/first": "error",
      "import-x/order": [
        "error",
        {
          groups: ["builtin", "external", "parent", ["sibling", "index"]],
          "newlines-between": "never",
          alphabetize: { order: "asc", caseInsensitive: true },
        },
      ],
    },
  },
  {
    // `describe` takes one function for all tests of a subject.
    files: ["test/**"],
    rules: { "max-lines-per-function": "off" },
  },
  {
    // One table with a row for every operation and shape.
    files: ["test/engine/ops/op-table.ts"],
    rules: { "max-lines": "off" },
  },
);
