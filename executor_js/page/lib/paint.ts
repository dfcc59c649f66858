/** Joins many changes into one paint: state is folded at once, and shown once a frame. */

/** Calls `show` once for any number of calls before the next frame; a hidden tab gets a slow timer instead. */
export function perFrame(show: () => void): () => void {
  let waiting = false;
  const flush = (): void => {
    if (!waiting) return;
    waiting = false;
    show();
  };
  return () => {
    if (waiting) return;
    waiting = true;
    // Frames stop in a hidden tab; one that was hidden in between is caught by the timer.
    if (!document.hidden) requestAnimationFrame(flush);
    setTimeout(flush, document.hidden ? 200 : 500);
  };
}
