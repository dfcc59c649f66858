/** The dedicated worker, where a browser has no SharedWorker: one executor for one tab, elected by the lock. */

import { openBrowserHost } from "./browser";
import { serve } from "./ports";

const scope = self as unknown as DedicatedWorkerGlobalScope;

serve(scope, openBrowserHost(scope.name));
