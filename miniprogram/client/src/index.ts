import type { Gateway, Options } from './api';
import { GatewayError, LocalCode } from './errors';
import { GatewayClient } from './gateway';

export * from './api';
export { GatewayError, LocalCode };

/** A gateway for one mini-program. Nothing happens until `connect()`, or the first upload. */
export function createGateway(options: Options): Gateway {
  return new GatewayClient(options);
}

export default createGateway;
