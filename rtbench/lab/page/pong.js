// The game: where the ball is, and what hits it. No clock, no network; lengths in pixels of the field, times in seconds.

export const WIDTH = 600;
export const HEIGHT = 400;
export const PADDLE = { height: 80, width: 10, margin: 20 };
export const BALL = 8; // its radius
const FIRST_SPEED = 300;
const FASTER = 1.05; // with each hit
const MOST_SPEED = 700;

/** The truth: player 1 has it, and tells the others. */
export class Game {
  /** @param {() => number} random */
  constructor(random = Math.random) {
    this.random = random;
    this.score = [0, 0];
    this.hits = 0;
    this.x = this.y = this.vx = this.vy = 0;
    this.serve(1);
  }

  /** Puts the ball into the middle. @param {number} towards 1: to player 2, -1: to player 1 */
  serve(towards) {
    const angle = (this.random() - 0.5) * 1.2;
    Object.assign(this, { x: WIDTH / 2, y: HEIGHT / 2, vx: towards * FIRST_SPEED * Math.cos(angle), vy: FIRST_SPEED * Math.sin(angle) });
  }

  /**
   * Moves the ball.
   * @param {number} by_s
   * @param {number} first the middle of player 1's paddle
   * @param {number} second that of player 2
   */
  step(by_s, first, second) {
    this.x += this.vx * by_s;
    this.y += this.vy * by_s;
    if (this.y < BALL && this.vy < 0) this.vy = -this.vy;
    if (this.y > HEIGHT - BALL && this.vy > 0) this.vy = -this.vy;
    const edge = PADDLE.margin + PADDLE.width + BALL;
    if (this.vx < 0 && this.x < edge && this.x > PADDLE.margin) this.hit(first, 1);
    if (this.vx > 0 && this.x > WIDTH - edge && this.x < WIDTH - PADDLE.margin) this.hit(second, -1);
    if (this.x < -BALL) this.point(1);
    if (this.x > WIDTH + BALL) this.point(0);
  }

  /**
   * @param {number} paddle
   * @param {number} towards
   */
  hit(paddle, towards) {
    const off = (this.y - paddle) / (PADDLE.height / 2 + BALL);
    if (Math.abs(off) > 1) return;
    const speed = Math.min(MOST_SPEED, Math.hypot(this.vx, this.vy) * FASTER);
    this.vx = towards * speed * Math.cos(off);
    this.vy = speed * Math.sin(off);
    this.hits += 1;
  }

  /** @param {number} winner */
  point(winner) {
    this.score[winner] += 1;
    this.serve(winner === 0 ? -1 : 1);
  }
}

/**
 * Where the computer moves its paddle: towards the ball, no faster than a person.
 * @param {number} paddle
 * @param {{y: number}} ball
 * @param {number} by_s
 */
export function follow(paddle, ball, by_s) {
  const most = 260 * by_s;
  return within(paddle + Math.max(-most, Math.min(most, ball.y - paddle)));
}

/** The middle of a paddle that stays in the field. @param {number} y */
export function within(y) {
  return Math.max(PADDLE.height / 2, Math.min(HEIGHT - PADDLE.height / 2, y));
}
