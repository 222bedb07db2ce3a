// Box plots of one measure: a label by groups, or all labels side by side.

const ALL = 'all';
const NONE = 'none';
const MOST_GROUPS = 12;

// Quartiles by linear interpolation between order statistics (as numpy's default); whiskers reach the
// outermost values within 1.5 interquartile ranges of the box (Tukey).
function boxOf(values) {
  const sorted = Float64Array.from(values).sort();
  const at = (share) => {
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  const [q1, median, q3] = [0.25, 0.5, 0.75].map(at);
  const reach = 1.5 * (q3 - q1);
  const low = sorted.find((value) => value >= q1 - reach);
  const high = sorted.findLast((value) => value <= q3 + reach);
  return { count: sorted.length, min: sorted[0], max: sorted.at(-1), q1, median, q3, low, high };
}

// A row of the plot: its name, the cases that have a value, these values, and their box.
function rowOf(name, cases, column, positiveOnly) {
  const found = cases.filter((n) => (positiveOnly ? column[n] > 0 : !Number.isNaN(column[n])));
  const values = found.map((n) => column[n]);
  return { name, cases: found, values, missing: cases.length - found.length, box: values.length ? boxOf(values) : null };
}

// How many points are drawn of each row: fewer where there are many rows, which are lower.
function mostPoints(rows) {
  return Math.min(300, Math.max(60, Math.floor(1500 / rows.length)));
}

// All points beyond the whiskers up to a third of what is drawn, and of the others evenly the rest.
function shownPlaces(row, most) {
  const places = row.values.map((_, n) => n);
  if (places.length <= most) return places;
  const outside = places.filter((n) => row.values[n] < row.box.low || row.values[n] > row.box.high);
  const even = (list, count) => (list.length <= count ? list
    : Array.from({ length: count }, (_, n) => list[Math.floor((n * list.length) / count)]));
  const few = Math.floor(most / 3);
  return [...even(outside, few), ...even(places, most - few)];
}

async function distributionRows({ label, measure, group, log }) {
  const everyone = Array.from({ length: study.cases }, (_, n) => n);
  if (label === ALL) {
    const columns = await Promise.all(study.labels.map((_, n) => valueColumn(n, measure)));
    return { rows: columns.map((column, n) => rowOf(study.labels[n], everyone, column, log)), more: 0 };
  }
  const column = await valueColumn(label, measure);
  if (group === NONE) return { rows: [rowOf('All cases', everyone, column, log)], more: 0 };
  const { texts, codes } = await caseColumn(group);
  const members = [...texts.map(() => []), []];
  for (const n of everyone) members.at(codes[n]).push(n); // a case without a group has the code -1: the last
  const named = members.map((cases, n) => ({ name: texts[n] ?? `no ${group}`, cases })).filter(({ cases }) => cases.length);
  named.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  return {
    rows: named.slice(0, MOST_GROUPS).map(({ name, cases }) => rowOf(name, cases, column, log)),
    more: Math.max(0, named.length - MOST_GROUPS),
  };
}

function boxPlot(rows, ids, width, heading, description, log) {
  const drawn = rows.filter((row) => row.box);
  const narrow = width < 560;
  const step = drawn.length > 14 ? 34 : 58;
  const [top, right] = [8, width - 14];
  const left = narrow ? 14 : Math.min(240, 30 + LETTER * Math.max(...drawn.map((row) => row.name.length)));
  const rowHeight = step + (narrow ? 20 : 0);
  const bottom = top + rowHeight * drawn.length;
  const x = scale(Math.min(...drawn.map((row) => row.box.min)), Math.max(...drawn.map((row) => row.box.max)),
    left, right, { log, most: Math.max(3, Math.floor((right - left) / 80)) });
  const shapes = drawn.map((row, n) => {
    const { box } = row;
    const middle = top + rowHeight * (n + 1) - step / 2;
    const half = step * 0.26;
    const points = shownPlaces(row, mostPoints(drawn)).map((place) => {
      // Spread by the golden ratio: even without chance, so that the same study looks the same.
      const spread = ((place * 0.618034) % 1) - 0.5;
      return point(x(row.values[place]), middle + spread * half * 1.7, row.cases[place],
        `${ids[row.cases[place]]}: ${spelled(row.values[place])}`);
    });
    const name = narrow ? { x: left, y: middle - step / 2 + 6 } : { x: left - 12, y: middle + 4, 'text-anchor': 'end' };
    return svg('g', {},
      fitted(row.name, narrow ? right - left : left - 16, name),
      svg('line', { class: 'whisker', x1: x(box.low), x2: x(box.q1), y1: middle, y2: middle }),
      svg('line', { class: 'whisker', x1: x(box.q3), x2: x(box.high), y1: middle, y2: middle }),
      svg('rect', { class: 'box', x: x(box.q1), width: Math.max(1, x(box.q3) - x(box.q1)), y: middle - half, height: 2 * half }),
      svg('g', {}, ...points),
      svg('line', { class: 'median', x1: x(box.median), x2: x(box.median), y1: middle - half, y2: middle + half }));
  });
  return picture(width, bottom + 50, description, xAxis(x, left, right, top, bottom, heading), ...shapes);
}

async function distributionTable(rows, heading) {
  const body = await Promise.all(rows.map(async ({ name, cases, values, missing, box }) => {
    if (!box) return [name, 0, missing, null, null, null, null, null, null, null];
    const lowest = cases[values.indexOf(box.min)];
    const highest = cases[values.indexOf(box.max)];
    return [name, box.count, missing, box.min, box.q1, box.median, box.q3, box.max, await caseLink(lowest), await caseLink(highest)];
  }));
  return html('details', {}, html('summary', {}, 'The same as a table'),
    table(heading, ['', 'Cases', 'Missing', 'Minimum', 'Lower quartile', 'Median', 'Upper quartile', 'Maximum', 'Lowest case', 'Highest case'], body));
}

function startDistributions(controls, figure) {
  const groups = study.groups;
  const state = {
    label: groups.length || study.labels.length < 2 ? 0 : ALL, measure: 0, group: groups[0] ?? NONE, log: false,
  };
  let latest = 0;
  async function draw() {
    const turn = latest += 1;
    const measure = study.measures[state.measure];
    const name = state.label === ALL ? 'all labels' : study.labels[state.label];
    const { rows, more } = await distributionRows(state);
    const ids = await jsonColumn('ids');
    const heading = `${measure.heading}, ${name}`;
    const unit = state.log ? `${measure.heading}, logarithmic scale` : measure.heading;
    const any = rows.some((row) => row.box);
    const most = mostPoints(rows.filter((row) => row.box));
    const open = figure.querySelector('details')?.open ?? false;
    const parts = [
      any ? boxPlot(rows, ids, figure.clientWidth, unit, `Box plots: ${heading}. The table below has the numbers.`, state.log)
        : html('p', {}, 'No case has this value.'),
      html('figcaption', {}, [measure.description, 'Boxes: quartiles and median; whiskers: outermost values within 1.5 interquartile ranges.',
        rows.some((row) => row.values.length > most) ? `Up to ${most} points are drawn of each.` : '',
        more ? `${more} more groups are not drawn.` : '',
        state.log && rows.some((row) => row.missing) ? 'A logarithmic scale has no place for 0: such values count as missing here.' : '',
      ].filter(Boolean).join(' ')),
      await distributionTable(rows, heading),
    ];
    if (turn !== latest) return; // another choice was made meanwhile
    figure.replaceChildren(...parts);
    figure.querySelector('details').open = open;
  }
  const change = (name, value) => { state[name] = value; grouping.hidden = state.label === ALL; draw(); };
  const grouping = choice('Grouped by', [...groups.map((name) => [name, name]), [NONE, 'nothing']], state.group, (value) => change('group', value));
  const all = study.labels.length > 1 ? [[ALL, 'all labels']] : [];
  controls.append(
    measureChoice('Measure', state.measure, (value) => change('measure', Number(value))),
    labelChoice('Label', state.label, (value) => change('label', value === ALL ? ALL : Number(value)), all),
    groups.length ? grouping : '',
    field('Logarithmic scale', html('input', { type: 'checkbox', onchange: (event) => change('log', event.target.checked) }), 'check'));
  grouping.hidden = state.label === ALL;
  onWidthChange(figure, draw);
  return draw();
}
