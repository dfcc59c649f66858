// Tests of the executor and of what the page computes; the page itself is tested in a real browser.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.{ts,tsx}", "page/**/*.test.{ts,tsx}"],
    testTimeout: 10_000,
    hookTimeout: 20_000,
    teardownTimeout: 5_000,
    unstubGlobals: true,
    restoreMocks: true,
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
