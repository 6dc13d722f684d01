// The last readings of a sensor, and where to draw them.

const KEPT = 60;

/** The readings after one more; what is no number is left out. */
function push(readings, value) {
  if (typeof value !== 'number' || !isFinite(value)) return readings;
  return readings.concat([value]).slice(-KEPT);
}

/** Lowest and highest value of the axis, whole numbers with some air around the readings. */
function range(readings) {
  if (!readings.length) return { low: 0, high: 1 };
  const low = Math.floor(Math.min.apply(null, readings) - 0.5);
  const high = Math.ceil(Math.max.apply(null, readings) + 0.5);
  return { low, high };
}

/** Points of the curve in a box of this size, oldest on the left; the newest always ends at the right edge. */
function points(readings, width, height) {
  const { low, high } = range(readings);
  const step = width / (KEPT - 1);
  const left = width - (readings.length - 1) * step;
  return readings.map((value, index) => ({
    x: left + index * step,
    y: height - ((value - low) / (high - low)) * height,
  }));
}

module.exports = { push, range, points, KEPT };
