/** The SharedWorker: one executor for all tabs, which outlives the tab that started it. */

import { serve } from "../client/ports";
import { openBrowserHost } from "./browser";

const scope = self as unknown as SharedWorkerGlobalScope;
const host = openBrowserHost(scope.name);

// Set before anything is awaited: the first page is waiting already.
scope.onconnect = ({ ports: [port] }) => {
  if (port) serve(port, host);
};
