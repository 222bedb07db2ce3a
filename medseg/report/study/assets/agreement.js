// Bland-Altman plots: the difference of two measurements against their mean.

function blandAltman(agreement, cases, means, differences, ids, width) {
  const height = Math.max(320, Math.min(460, width * 0.6));
  const { unit } = agreement;
  const named = (text) => (unit ? `${text} (${unit})` : text);
  const lines = [['bias', 'bias'], ['lower', 'limit'], ['upper', 'limit']].filter(([name]) => agreement[name][0] !== null);
  const levels = lines.flatMap(([name]) => agreement[name].filter((value) => value !== null));
  const [left, right, top, bottom] = [64, width - (width < 560 ? 14 : 150), 34, height - 50];
  const range = (list) => list.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const x = scale(...range(means), left, right, { most: Math.max(3, Math.floor((right - left) / 80)) });
  const y = scale(...range([...differences, ...levels, 0]), bottom, top, { most: 7 });
  const intervals = lines.filter(([name]) => agreement[name][1] !== null && agreement[name][2] !== null).map(([name, kind]) => {
    const [, low, high] = agreement[name];
    return svg('rect', { class: kind === 'bias' ? 'interval' : 'interval outer', x: left, width: right - left, y: y(high), height: Math.max(1, y(low) - y(high)) });
  });
  const words = { bias: 'bias', lower: 'lower limit', upper: 'upper limit' };
  const strokes = lines.flatMap(([name, kind]) => {
    const level = y(agreement[name][0]);
    const text = width < 560 ? [] : [svg('text', { x: right + 8, y: level + 4 }, `${words[name]} ${spelled(agreement[name][0])}`)];
    return [svg('line', { class: kind, x1: left, x2: right, y1: level, y2: level }), ...text];
  });
  const points = cases.map((n, place) => point(x(means[place]), y(differences[place]), n,
    `${n < 0 ? 'a case' : ids[n]}: mean ${spelled(means[place])}, difference ${spelled(differences[place])}`));
  return picture(width, height, `Bland-Altman plot: ${agreement.title}. The table below has bias and limits.`,
    yAxis(y, left, right, top, bottom, named(`${agreement.first} − ${agreement.second}`)),
    xAxis(x, left, right, top, bottom, named('Mean of both')),
    ...intervals, svg('line', { class: 'zero', x1: left, x2: right, y1: y(0), y2: y(0) }), ...strokes, svg('g', {}, ...points));
}

async function farthestTable(agreement, cases, means, differences) {
  const bias = agreement.bias[0] ?? 0;
  const order = cases.map((_, n) => n).filter((n) => cases[n] >= 0);
  order.sort((a, b) => Math.abs(differences[b] - bias) - Math.abs(differences[a] - bias));
  const rows = await Promise.all(order.slice(0, 10).map(async (n) => [await caseLink(cases[n]), means[n], differences[n]]));
  const unit = agreement.unit ? ` (${agreement.unit})` : '';
  return html('details', {}, html('summary', {}, 'Cases farthest from the bias'),
    table(`Farthest from the bias: ${agreement.title}`, ['Case', `Mean${unit}`, `Difference${unit}`], rows));
}

function startAgreement(controls, figure) {
  let chosen = 0;
  let latest = 0;
  async function draw() {
    const turn = latest += 1;
    const agreement = study.agreements[chosen];
    const [cases, numbers, ids] = await Promise.all([
      jsonColumn(`agreement-${chosen}-cases`), numberColumn(`agreement-${chosen}-points`), jsonColumn('ids')]);
    const means = Array.from(numbers.subarray(0, cases.length));
    const differences = Array.from(numbers.subarray(cases.length));
    const some = cases.length < agreement.pairs ? ` ${counted(cases.length)} of ${counted(agreement.pairs)} cases are drawn, among them those farthest from the bias.` : '';
    const open = figure.querySelector('details')?.open ?? false;
    const parts = cases.length === 0 ? [html('p', {}, 'No case has both measurements.')] : [
      blandAltman(agreement, cases, means, differences, ids, figure.clientWidth),
      html('figcaption', {}, `Solid line: bias; dashed lines: limits of agreement; bands: 95 % confidence intervals.${some}`),
      await farthestTable(agreement, cases, means, differences)];
    if (turn !== latest) return;
    figure.replaceChildren(...parts);
    if (figure.querySelector('details')) figure.querySelector('details').open = open;
  }
  if (study.agreements.length > 1) {
    controls.append(choice('Measurement', study.agreements.map(({ title }, n) => [n, title]), 0, (value) => { chosen = Number(value); draw(); }));
  }
  onWidthChange(figure, draw);
  return draw();
}
