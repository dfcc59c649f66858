/** The viewer's connection, over a transport that is the test. */

import { describe, expect, it, vi } from "vitest";
import type { Completion, Handlers } from "../../src/index";
import { type ViewerHandlers, ViewerSocket } from "../viewer/socket";

function viewer() {
  const emitted: { event: string; payload: unknown; answered: (ack: unknown) => void }[] = [];
  const opens = vi.fn();
  const said: ViewerHandlers = { line: vi.fn(), message: vi.fn(), refused: vi.fn() };
  let handlers: Handlers | null = null;
  const socket = new ViewerSocket((given) => {
    handlers = given;
    return {
      open: opens,
      close: () => {},
      emit: (event, payload, answered) => void emitted.push({ event, payload, answered }),
    };
  }, said);
  if (!handlers) throw new Error("it did not connect");
  return { socket, said, emitted, opens, server: handlers as Handlers };
}

const call: Completion = {
  type: "request:chat:completion",
  data: {
    run_id: "r",
    attempt: 2,
    channel: "c",
    session_id: "s",
    chat_id: 1,
    message_id: "m",
    model: { id: "one", provider: null, connection_id: null },
    form_data: {},
    first_line_timeout: null,
    idle_timeout: null,
  },
};

describe("the viewer's socket", () => {
  it("[E3] answers a model call with a retryable refusal: it goes to another device", () => {
    const { server, said } = viewer();
    const answer = vi.fn();
    server.received(call, answer);
    expect(answer).toHaveBeenCalledWith({
      status: false,
      run_id: "r",
      attempt: 2,
      error: expect.objectContaining({ code: "not_an_executor", retryable: true }),
    });
    expect(said.message).not.toHaveBeenCalled();
  });

  it("[C6] hands on every other event, and what the line does", () => {
    const { server, said } = viewer();
    server.opened();
    server.received({ type: "chats:changed", data: {} }, () => {});
    server.closed();
    expect(said.message).toHaveBeenCalledWith({ type: "chats:changed", data: {} });
    expect(vi.mocked(said.line).mock.calls).toEqual([["connected"], ["offline"]]);
  });

  it("[V1] asks for a chat and gives its acknowledgement", async () => {
    const { socket, emitted } = viewer();
    const ack = socket.openChat({ chat_id: 1, after: 4 });
    expect(emitted[0]).toMatchObject({ event: "chat:open", payload: { chat_id: 1, after: 4 } });
    emitted[0]?.answered({ ok: true, snapshot: null, events: [], seq: 4 });
    await expect(ack).resolves.toMatchObject({ ok: true, seq: 4 });
  });

  it("says so when there is no acknowledgement in time", async () => {
    vi.useFakeTimers();
    const ack = viewer().socket.openChat({ chat_id: 1 });
    const rejected = expect(ack).rejects.toThrow("no acknowledgement");
    await vi.advanceTimersByTimeAsync(15_000);
    await rejected;
    vi.useRealTimers();
  });

  it.each(["internal", "of_a_later_version", "unauthorized"])(
    "[C2] a connection refused with %s is told, and tried again with growing pauses",
    async (code) => {
      vi.useFakeTimers();
      const { server, said, opens } = viewer();
      const refuse = () => server.refused({ code, message: "Not now.", retryable: false });
      for (const pause of [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
        opens.mockClear();
        refuse();
        await vi.advanceTimersByTimeAsync(pause - 1);
        expect(opens).not.toHaveBeenCalled();
        await vi.advanceTimersByTimeAsync(1);
        expect(opens).toHaveBeenCalledOnce();
      }
      expect(said.refused).toHaveBeenCalledTimes(6);
      server.opened();
      opens.mockClear();
      refuse();
      await vi.advanceTimersByTimeAsync(2_000);
      expect(opens).toHaveBeenCalledOnce();
      vi.useRealTimers();
    },
  );
});
