// One case: its picture, why it has its verdict, and all of its values.

async function caseContent(n) {
  const { index } = browsed;
  const reasons = index.reasonPlaces[n].map((place) => index.reasons[place]);
  const columns = await Promise.all(study.columns.map(({ name }) => caseColumn(name)));
  const facts = [['Verdict', verdictMark(study.statuses[index.statuses[n]])],
    ...(study.hasScores ? [[study.scoreName, spelled(index.scores[n])]] : []),
    ...columns.map((column) => [column.name, spelled(column.at(n))])];
  return [
    html('div', { class: 'large' }, casePicture(index, n, { eager: true })),
    reasons.length ? html('ul', { class: 'reasons', 'aria-label': 'Reasons' },
      ...reasons.map(([code, message]) => html('li', { dir: 'auto' }, html('code', {}, code), `: ${message}`))) : null,
    html('div', { class: 'details' },
      html('div', {}, html('h3', {}, 'Case'),
        html('dl', { class: 'facts' }, ...facts.flatMap(([name, value]) => [html('dt', { dir: 'auto' }, name), html('dd', { dir: 'auto' }, value)]))),
      html('div', {}, html('h3', {}, 'Measurements'),
        html('div', { class: 'values', 'aria-busy': 'true' }, html('p', {}, 'Unpacking …')))),
  ].filter(Boolean);
}

// In a large study the first case that is opened waits for the values of all to be unpacked: one column after
// the other, so that the page answers meanwhile.
async function measurements(n) {
  const rows = [];
  for (const [label, name] of study.labels.entries()) {
    const row = [name];
    for (const measure of study.measures.keys()) row.push((await valueColumn(label, measure))[n]);
    if (row.slice(1).some((value) => !Number.isNaN(value))) rows.push(row);
  }
  return rows.length ? table('Values of each label', ['Label', ...study.measures.map(({ heading }) => heading)], rows)
    : html('p', {}, 'Nothing was measured.');
}

let openedCase = -1;

async function openCase(n) {
  const dialog = document.getElementById('case');
  openedCase = n;
  const content = await caseContent(n);
  if (openedCase !== n) return; // another case was asked for meanwhile
  const rank = browsed.order.indexOf(n);
  const step = (text, by) => html('button', {
    type: 'button', disabled: rank < 0 || !(rank + by in browsed.order), 'data-step': by, onclick: () => openCase(browsed.order[rank + by]),
  }, text);
  const focused = dialog.contains(document.activeElement) ? document.activeElement.dataset.step : undefined;
  dialog.replaceChildren(
    html('div', { class: 'bar' },
      html('h2', { id: 'case-name', dir: 'auto', tabindex: -1 }, browsed.index.ids[n]),
      step('Previous', -1), step('Next', 1),
      html('button', { type: 'button', onclick: () => dialog.close() }, 'Close')),
    html('div', { class: 'body' }, ...content));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  (dialog.querySelector(`[data-step="${focused}"]:enabled`) ?? dialog.querySelector('h2')).focus();
  const place = dialog.querySelector('.values');
  place.replaceChildren(await measurements(n)); // if another case was opened meanwhile, no one sees this
  place.removeAttribute('aria-busy');
}

function startCase(dialog) {
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => { openedCase = -1; });
  dialog.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined || event.target.closest('.scroll')) return; // a wide table scrolls by these keys
    const next = browsed.order[browsed.order.indexOf(openedCase) + by];
    if (next !== undefined) openCase(next);
  });
}
