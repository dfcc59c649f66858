// Builds the companion: one file that Node runs as it is, without node_modules.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  publicDir: false,
  ssr: { target: "node", noExternal: true },
  build: {
    ssr: here("src/hosts/node.ts"),
    outDir: here("../server/keyside/static/companion"),
    emptyOutDir: true,
    target: "node20",
    minify: false,
    rolldownOptions: {
      // Native helpers of `ws`, which does without them.
      external: ["bufferutil", "utf-8-validate"],
      output: {
        format: "es",
        entryFileNames: "keyside-executor.mjs",
        codeSplitting: false,
      },
    },
  },
});
