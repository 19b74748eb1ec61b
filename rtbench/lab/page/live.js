// The connection with the lab: asks and is told, in messages of JSON.

export class Live {
  /** @param {(message: any) => void} told */
  constructor(told) {
    this.told = told;
    this.number = 0;
    /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.socket = new WebSocket(`ws://${location.host}/live`);
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    this.socket.onclose = () => {
      for (const { reject } of this.waiting.values()) reject(new Error("the lab has ended"));
      this.waiting.clear();
      told({ type: "closed" });
    };
  }

  /** @param {any} message */
  take(message) {
    const waiting = this.waiting.get(message.id);
    if (!waiting) {
      this.told(message);
      return;
    }
    this.waiting.delete(message.id);
    if (message.error) waiting.reject(new Error(message.error));
    else waiting.resolve(message);
  }

  /**
   * Asks the lab to do something; rejects with its sentence where it cannot.
   * @param {string} what
   * @param {Record<string, any>} [with_values]
   * @returns {Promise<any>}
   */
  ask(what, with_values = {}) {
    const id = ++this.number;
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        reject(new Error("the lab has ended"));
        return;
      }
      this.waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ id, do: what, ...with_values }));
    });
  }
}
