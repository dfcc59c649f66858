/** A small server that follows the protocol for executors: fences, deduplicates, refuses gaps, gives verdicts. */

import { failure } from "../../src/failures";
import { MemoryLink } from "../../src/link/memory";
import type {
  Answer,
  CompletionRequest,
  ExecutorReady,
  Finish,
  Frame,
  ModelRef,
  ServerMessage,
  Verdict,
} from "../../src/protocol.gen";
import { settle } from "./clock";

export interface ServedRun {
  readonly request: CompletionRequest;
  state: "offered" | "streaming" | "ended" | "taken";
  lines: string[];
  finish: Finish | null;
  readonly frames: Frame[];
}

type Reply = (ack: unknown) => void;
/** Returns true if it has dealt with the event itself. */
export type Meddle = (event: string, payload: unknown, answer: Reply) => boolean;

export class ServerDouble {
  readonly announcements: ExecutorReady[] = [];
  readonly runs = new Map<string, ServedRun>();
  readonly answers: Answer[] = [];
  /** The order in which events came. */
  readonly events: string[] = [];
  meddle: Meddle = () => false;
  send: (message: ServerMessage, answered?: (value: unknown) => void) => void = () => {};
  private known = false;

  /** Call for every new connection. */
  connected(): void {
    this.known = false;
  }

  readonly serve = (event: string, payload: unknown, answer: Reply): void => {
    this.events.push(event);
    if (!this.meddle(event, payload, answer)) this.handle(event, payload, answer);
  };

  handle(event: string, payload: unknown, answer: Reply): void {
    if (event === "executor:ready") answer(this.ready(payload as ExecutorReady));
    else answer(this.frame(event, payload as Frame));
  }

  offer(
    runId: string,
    more: {
      attempt?: number;
      model?: Partial<ModelRef>;
      formData?: object;
      firstLineTimeout?: number;
      idleTimeout?: number;
    } = {},
  ): ServedRun {
    const attempt = more.attempt ?? 1;
    const request: CompletionRequest = {
      run_id: runId,
      attempt,
      channel: `channel:${runId}:${attempt}`,
      session_id: "session",
      chat_id: 1,
      message_id: `message-${runId}`,
      model: { id: "model", provider: null, connection_id: null, ...more.model },
      form_data: { model: "model", messages: [], stream: true, ...more.formData },
      first_line_timeout: more.firstLineTimeout ?? null,
      idle_timeout: more.idleTimeout ?? null,
    };
    const run: ServedRun = { request, state: "offered", lines: [], finish: null, frames: [] };
    this.runs.set(request.channel, run);
    this.send({ type: "request:chat:completion", data: request }, (value) =>
      this.answers.push(value as Answer),
    );
    return run;
  }

  abort({ request: { run_id, attempt, channel } }: ServedRun): void {
    this.send({ type: "request:chat:abort", data: { run_id, attempt, channel } });
  }

  private ready(announcement: ExecutorReady): unknown {
    this.known = true;
    this.announcements.push(announcement);
    const runs: Verdict[] = announcement.holds.map((hold) => this.verdict(hold.run_id, hold.attempt));
    return { ok: true, executor: {}, runs };
  }

  private verdict(run_id: string, attempt: number): Verdict {
    const run = this.runs.get(`channel:${run_id}:${attempt}`);
    if (!run || run.state === "ended" || run.state === "taken") {
      return { run_id, attempt, verdict: "drop", expected: null };
    }
    return { run_id, attempt, verdict: "continue", expected: run.lines.length };
  }

  private frame(channel: string, frame: Frame): unknown {
    const run = this.runs.get(channel);
    if (!this.known) return refuse("not_ready");
    if (!run || run.state === "taken") return refuse("stale_attempt");
    run.frames.push(frame);
    if (run.state === "ended") return run.finish ? accept(run) : refuse("run_ended");
    if (run.state === "offered" && (frame.index > 0 || frame.lines.length > 0)) return refuse("not_started");
    run.state = "streaming";
    if (frame.index > run.lines.length) return { ...refuse("gap"), expected: run.lines.length };
    run.lines.push(...frame.lines.slice(run.lines.length - frame.index));
    if (frame.done) {
      run.state = "ended";
      run.finish = frame.finish;
    }
    return accept(run);
  }
}

const accept = (run: ServedRun) => ({ ok: true, expected: run.lines.length });

export const refuse = (code: Parameters<typeof failure>[0]) => ({ ok: false, error: failure(code) });

/** The server and its end of an in-memory link. */
export function memoryServer(): { server: ServerDouble; link: MemoryLink } {
  const server = new ServerDouble();
  const link = new MemoryLink((event, payload, answer) => server.serve(event, payload, answer));
  server.send = (message, answered) => link.send(message, answered);
  return { server, link };
}

/** The connection breaks and comes back: nothing of the old one is answered any more. */
export async function reconnect(server: ServerDouble, link: MemoryLink): Promise<void> {
  link.cut();
  await settle();
  server.connected();
  link.restore();
  await settle();
}
