/**
 * The script of the dedicated worker, for browsers without SharedWorker. Of all tabs, the one with the lock
 * connects.
 */

import { serve } from "../client/ports";
import { openBrowserHost } from "./browser";

const scope = self as unknown as DedicatedWorkerGlobalScope;

serve(scope, openBrowserHost(scope.name));
