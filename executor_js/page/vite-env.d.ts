/** What the build tells the page. */

/// <reference types="vite/client" />

interface ImportMetaEnv {
  readonly VITE_KEYSIDE_VERSION?: string;
}
