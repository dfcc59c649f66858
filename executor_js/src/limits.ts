/** The figures of the protocol: sizes in bytes of UTF-8 (E10) and times in milliseconds (E5, E8). */

const MIB = 1024 * 1024;

export const MAX_LINE = MIB;
/** Half of what a frame may have: quotes and backslashes grow when a line becomes a JSON string. */
export const FRAME_BYTES = MIB;
/** What an attempt keeps unacknowledged before it stops reading upstream. */
export const MAX_BACKLOG = 32 * MIB;

/** Between two frames with lines. */
export const FRAME_PACE = 33;
/** Without an acknowledgement for so long, a frame is sent again. */
export const ACK_TIMEOUT = 5_000;
/** Without a frame for so long, an empty one says that the attempt lives. */
export const HEARTBEAT = 10_000;

/** How long to wait for an acknowledgement the next time, after `tries` in vain. */
export const patience = (tries: number): number => ACK_TIMEOUT * 2 ** Math.min(tries, 3);

/** How long to wait before sending again what was refused for the moment. */
export const backoff = (tries: number): number => Math.min(500 * 2 ** tries, 10_000);

const encoder = new TextEncoder();

export const byteLength = (text: string): number => encoder.encode(text).length;
