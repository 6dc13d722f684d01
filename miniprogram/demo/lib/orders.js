// What the order board shows, out of what was published: pure, so that it can be tested without a phone.

const STATES = ['new', 'making', 'done'];
const KEPT = 100;

/** The board after one more message. An order comes once and is then moved on; messages may be old news. */
function apply(orders, message) {
  if (!message || typeof message.id !== 'string' || STATES.indexOf(message.state) < 0) return orders;
  const known = orders.find((order) => order.id === message.id);
  if (!known) return [message].concat(orders).slice(0, KEPT);
  if (STATES.indexOf(message.state) <= STATES.indexOf(known.state)) return orders;
  return orders.map((order) => (order === known ? Object.assign({}, known, message) : order));
}

/** The state that follows, or an empty string where nothing does. */
function next(state) {
  return STATES[STATES.indexOf(state) + 1] || '';
}

module.exports = { apply, next };
