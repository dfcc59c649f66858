/** The dedicated worker, where a browser has no SharedWorker: one executor for one tab, elected by the lock. */

import { serve } from "../client/ports";
import { openBrowserHost } from "./browser";

const scope = self as unknown as DedicatedWorkerGlobalScope;

serve(scope, openBrowserHost(scope.name));
