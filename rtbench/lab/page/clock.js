// The one clock of the page. Workers and the page read the same one, so a difference between them is a time.

/** Milliseconds since 1970, from a clock that never jumps (High Resolution Time, section 4). */
export function now_ms() {
  return performance.timeOrigin + performance.now();
}

/** The smallest step of the clock in milliseconds: 0.005 where the page is isolated from others, else 0.1. */
export function step_ms() {
  let least = Infinity;
  for (let i = 0; i < 20; i += 1) {
    const from = performance.now();
    let to = from;
    while (to === from) to = performance.now();
    least = Math.min(least, to - from);
  }
  return least;
}
