/** Listeners by event. One that throws is reported, and hinders no other. */

export class Emitter<Events extends { [event: string]: any }> {
  private readonly listeners: { [event: string]: Array<(argument: any) => void> } = {};

  constructor(private readonly failed: (event: string, reason: unknown) => void) {}

  on<E extends keyof Events & string>(event: E, listener: Events[E]): void {
    (this.listeners[event] = this.listeners[event] || []).push(listener);
  }

  off<E extends keyof Events & string>(event: E, listener?: Events[E]): void {
    const there = this.listeners[event] || [];
    this.listeners[event] = listener ? there.filter((each) => each !== listener) : [];
  }

  has(event: keyof Events & string): boolean {
    return Boolean(this.listeners[event] && this.listeners[event].length);
  }

  emit<E extends keyof Events & string>(event: E, argument: Parameters<Events[E]>[0]): void {
    const there = this.listeners[event];
    if (!there) return;
    there.slice().forEach((listener) => {
      try {
        listener(argument);
      } catch (reason) {
        this.failed(event, reason);
      }
    });
  }
}
