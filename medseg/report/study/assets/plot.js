// What the plots share: round ticks, scales, axes.

function linearTicks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high, most) {
  for (const mantissas of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const mantissa of mantissas) {
        const tick = Number(`${mantissa}e${power}`);
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    }
    if (ticks.length >= 2 && ticks.length <= most) return ticks;
    if (mantissas.length === 1 && ticks.length >= 2) {
      return ticks.filter((_, n) => n % Math.ceil(ticks.length / most) === 0);
    }
  }
  return linearTicks(low, high, most).filter((tick) => tick > 0);
}

// From values low..high to positions start..end, with ticks. A range without width is widened.
function scale(low, high, start, end, { log = false, most = 8, margin = 0.04 } = {}) {
  const forward = log ? Math.log10 : (x) => x;
  let from = forward(low);
  let to = forward(high);
  const room = to > from ? (to - from) * margin : Math.abs(from) * 0.05 || 0.5;
  from -= room;
  to += room;
  const position = (value) => start + ((forward(value) - from) / (to - from)) * (end - start);
  position.ticks = log ? logTicks(10 ** from, 10 ** to, most) : linearTicks(from, to, most);
  return position;
}

// Axis below a plot, with lines across it.
function xAxis(x, left, right, top, bottom, heading) {
  const parts = x.ticks.map((tick) => svg('g', {},
    svg('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: top, y2: bottom }),
    svg('text', { class: 'tick', x: x(tick), y: bottom + 18, 'text-anchor': 'middle' }, spelled(tick))));
  return svg('g', {}, ...parts,
    svg('line', { class: 'axis', x1: left, x2: right, y1: bottom, y2: bottom }),
    svg('text', { x: (left + right) / 2, y: bottom + 40, 'text-anchor': 'middle' }, heading));
}

function yAxis(y, left, right, top, bottom, heading) {
  const parts = y.ticks.map((tick) => svg('g', {},
    svg('line', { class: 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }),
    svg('text', { class: 'tick', x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, spelled(tick))));
  return svg('g', {}, ...parts,
    svg('line', { class: 'axis', x1: left, x2: left, y1: top, y2: bottom }),
    fitted(heading, right - left, { x: left, y: top - 12 }));
}

// A point that tells its case and opens it. By keyboard the same cases are reached through the tables.
function point(x, y, n, text) {
  return svg('circle', { class: 'point', cx: x.toFixed(1), cy: y.toFixed(1), r: 3, onclick: () => { if (n >= 0) openCase(n); } },
    svg('title', {}, text));
}

const LETTER = 7.6; // pixels of the plots' text, on average and a little more

// A text shortened to a width in pixels; the whole is its title.
function fitted(text, width, attributes) {
  const letters = Math.max(3, Math.floor(width / LETTER));
  const whole = [...text];
  const short = whole.length <= letters ? text : `${whole.slice(0, letters - 1).join('')}…`;
  return svg('text', attributes, short, svg('title', {}, text));
}

function picture(width, height, description, ...children) {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': description }, ...children);
}
