// Wakes the source when a message is due. It sleeps with Atomics.wait, which is more punctual than a timer: a timer that
// sets itself again waits for 4 ms at least (HTML, section 8.6).
//
// It gets {stop, port, times}: `stop` is shared memory that becomes 1, `port` leads to the source, `times` says when. After
// each message it returns to its event loop: the browser frees what a Worker has posted only there, 60 bytes a message.

import { now_ms } from "./clock.js";
import { due_ms } from "./pace.js";

addEventListener("message", (event) => {
  const { stop, port, times } = event.data;
  const word = new Int32Array(stop);
  const { port1: here, port2: to_here } = new MessageChannel();
  let number = 0;
  here.onmessage = () => {
    const wait_ms = due_ms(times, number) - now_ms();
    if (Atomics.load(word, 0) === 1 || (wait_ms > 0 && Atomics.wait(word, 0, 0, wait_ms) !== "timed-out")) {
      close();
      return;
    }
    port.postMessage(number);
    number += 1;
    to_here.postMessage(null);
  };
  to_here.postMessage(null);
});
