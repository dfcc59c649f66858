/** The protocol's limits: sizes in bytes of UTF-8 (E10), and times in milliseconds (E5, E8). */

const MIB = 1024 * 1024;

export const MAX_LINE = MIB;
/**
 * Half of the 2 MiB that a frame may have, because quotes and backslashes double when a line becomes a JSON string.
 */
export const FRAME_BYTES = MIB;
/** How much unacknowledged text an attempt keeps before it stops reading its upstream. */
export const MAX_BACKLOG = 32 * MIB;

/** The shortest time between two frames with lines. */
export const FRAME_PACE = 33;
/** A frame is sent again when it is not acknowledged within this time. */
export const ACK_TIMEOUT = 5_000;
/** When no frame was sent for this time, an empty one shows that the attempt goes on. */
export const HEARTBEAT = 10_000;

/** How long to wait for an acknowledgement after `tries` that had none. */
export const ackTimeout = (tries: number): number => ACK_TIMEOUT * 2 ** Math.min(tries, 3);

/** How long to wait before the next try, after `tries` that were refused. */
export const backoff = (tries: number): number => Math.min(500 * 2 ** tries, 10_000);

const encoder = new TextEncoder();

export const byteLength = (text: string): number => encoder.encode(text).length;
