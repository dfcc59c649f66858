// Builds the page and its workers into the Python package; `vite` alone serves the page for development.
import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8000";
const SERVER_PATHS = ["/api", "/v1", "/uploads", "/health", "/metrics", "/docs", "/redoc", "/openapi.json"];

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("page"),
  plugins: [react(), tailwindcss()],
  build: {
    outDir: here("../server/keyside/static"),
    emptyOutDir: true,
    target: "es2023",
    assetsDir: "assets",
    // The page's policy allows scripts and styles of the origin only: nothing inline, no data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
  },
  worker: {
    format: "es",
    // A folder of its own, so that the server can give everything in it the executor's policy.
    rolldownOptions: {
      output: {
        entryFileNames: "worker/[name]-[hash].js",
        chunkFileNames: "worker/[name]-[hash].js",
        assetFileNames: "worker/[name]-[hash][extname]",
      },
    },
  },
  server: {
    host: "127.0.0.1",
    port: 5173,
    strictPort: true,
    fs: { allow: [here(".")] },
    // The Host header stays as it is: `make dev` tells the server that this is its public URL.
    proxy: {
      ...Object.fromEntries(SERVER_PATHS.map((path) => [path, { target: SERVER, changeOrigin: false }])),
      "/ws": { target: SERVER, changeOrigin: false, ws: true },
    },
  },
});
