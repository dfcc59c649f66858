/**
 * The script of the SharedWorker: one executor for all tabs, which goes on when the tab that started it is closed.
 */

import { serve } from "../client/ports";
import { openBrowserHost } from "./browser";

const scope = self as unknown as SharedWorkerGlobalScope;
const host = openBrowserHost(scope.name);

// The first page connects at once, so this must be set before anything is awaited.
scope.onconnect = ({ ports: [port] }) => {
  if (port) serve(port, host);
};
