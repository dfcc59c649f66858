/** A real HTTP upstream on this machine, whose answers a test writes byte by byte. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** Settles when the caller has gone away before the end of the answer. */
  readonly left: Promise<void>;
}

export type Script = (response: ServerResponse, asked: Asked) => unknown;

export class UpstreamDouble {
  readonly asked: Asked[] = [];
  script: Script = (response) => response.end();
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => void this.answer(request, response));
  }

  static async start(): Promise<UpstreamDouble> {
    const upstream = new UpstreamDouble();
    await new Promise<void>((resolve) => upstream.server.listen(0, "127.0.0.1", resolve));
    return upstream;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Answers each request with these bytes, written in these pieces. */
  sends(pieces: readonly (string | Uint8Array)[], type = "text/event-stream", status = 200): void {
    this.script = async (response) => {
      response.writeHead(status, { "Content-Type": type });
      for (const piece of pieces) await new Promise((resolve) => response.write(piece, resolve));
      response.end();
    };
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const piece of request) body += piece;
    const left = new Promise<void>((resolve) => response.on("close", () => resolve()));
    const { method = "", url = "", headers } = request;
    const asked = { method, path: url, headers, body, left };
    this.asked.push(asked);
    await this.script(response, asked);
  }
}

export const chunk = (content: string, finish: string | null = null): string =>
  JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] });

export const event = (data: string): string => `data: ${data}\n\n`;

/** A complete stream of this text, a chunk for each part. */
export const stream = (...parts: string[]): string =>
  [...parts.map((part) => event(chunk(part))), event(chunk("", "stop")), event("[DONE]")].join("");
