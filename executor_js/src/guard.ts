/** The only way out: whatever an executor sends, or answers, is cleaned here (E13). */

import type { Clean } from "./redaction";
import type { Connect } from "./transport";

export function guarded(connect: Connect, clean: Clean): Connect {
  return (handlers) => {
    const transport = connect({
      opened: () => handlers.opened(),
      closed: () => handlers.closed(),
      refused: (error) => handlers.refused(error),
      received: (message, answer) => handlers.received(message, (value) => answer(clean(value))),
    });
    return {
      open: () => transport.open(),
      close: () => transport.close(),
      emit: (event, payload, answered) => transport.emit(event, clean(payload), answered),
    };
  };
}
