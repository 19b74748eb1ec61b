export class Replay { constructor(lanes, session) {} start(done) {} }
