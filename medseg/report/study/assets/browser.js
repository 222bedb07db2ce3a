// The controls of the grid of cases, and what they change.

let browsed = { order: [], index: null }; // cases in the order shown, for stepping from case to case

async function startBrowser(place) {
  const index = await caseIndex();
  const state = {
    query: '', status: ANY, reason: ANY, groups: new Map(), sort: 'rank', descending: false, label: 0, measure: 0, view: 'cards', page: 0,
  };
  const found = html('p', { class: 'found', role: 'status' });
  const list = html('div', {});
  const pager = html('div', { class: 'pager' });
  let latest = 0;

  async function find({ keepPage = false } = {}) {
    const turn = latest += 1;
    const keys = await sortKeys(index, state);
    if (turn !== latest) return;
    browsed = { index, order: sorted(matching(index, state), keys, state.descending, index.ranks) };
    if (!keepPage) state.page = 0;
    await show();
  }

  async function show() {
    const turn = latest;
    const { order } = browsed;
    const values = shownValue(state) ? await valueColumn(state.label, state.measure) : null;
    if (turn !== latest) return;
    const pages = Math.max(1, Math.ceil(order.length / PAGE));
    const first = state.page * PAGE;
    const cases = order.slice(first, first + PAGE);
    found.textContent = order.length === 0 ? 'No case fits: search for less or remove a filter.'
      : `${counted(order.length)} of ${counted(study.cases)} cases; shown: ${counted(first + 1)} to ${counted(first + cases.length)}`;
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.sort : undefined;
    if (cases.length === 0) list.replaceChildren();
    else if (state.view === 'cards') list.replaceChildren(html('ul', { class: 'cards', role: 'list' }, ...cases.map((n) => card(index, n, values, state))));
    else list.replaceChildren(caseTable(index, cases, values, state, sortBy));
    if (focused) list.querySelector(`[data-sort="${focused}"]`)?.focus();
    for (const [button, target] of turning) button.disabled = target(pages) === state.page;
    pageText.textContent = `Page ${counted(state.page + 1)} of ${counted(pages)}`;
    pager.hidden = pages === 1;
  }

  function set(name, value) { state[name] = value; return find(); }

  function sortBy(key, descending = state.sort === key && !state.descending) {
    Object.assign(state, { sort: key, descending });
    sorting.querySelector('select').value = key;
    reversing.setAttribute('aria-pressed', String(descending));
    return find();
  }

  const turn = (text, target) => {
    const button = html('button', { type: 'button', onclick: async () => {
      state.page = target(Math.max(1, Math.ceil(browsed.order.length / PAGE)));
      await show();
      place.scrollIntoView();
      if (button.disabled) document.getElementById('cases-heading').focus();
    } }, text);
    return [button, target];
  };
  const turning = [turn('First', () => 0), turn('Previous', () => Math.max(0, state.page - 1)),
    turn('Next', (pages) => Math.min(pages - 1, state.page + 1)), turn('Last', (pages) => pages - 1)];
  const pageText = html('span', {});
  const [start, back, on, end] = turning.map(([button]) => button);
  pager.append(start, back, pageText, on, end);

  let typing = 0;
  const search = html('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', oninput: () => {
    clearTimeout(typing);
    typing = setTimeout(() => set('query', search.value), 150);
  } });
  const codes = [...new Set(index.reasons.map(([code]) => code))].sort().slice(0, MOST_OPTIONS);
  const present = study.statuses.filter((_, n) => index.statuses.includes(n));
  const statusFilter = choice('Verdict', [[ANY, 'any'], [SEGMENTED, 'any but failed'], ...present.map((name) => [name, name])], ANY, (value) => set('status', value));
  const reasonFilter = choice('Reason', [[ANY, 'any'], ...codes.map((code) => [code, code])], ANY, (value) => set('reason', value));
  const groupFilters = index.groups.map((column) => choice(column.name,
    [[ANY, 'any'], ...column.texts.slice(0, MOST_OPTIONS).map((text, n) => [n, text]), ...(column.codes.includes(-1) ? [[-1, 'missing']] : [])],
    ANY, (value) => { state.groups.set(column.name, value); return find(); }));
  const sorting = choice('Sorted by', [['rank', 'Worst first'], ['id', 'Case id'],
    ...(study.hasScores ? [['score', study.scoreName]] : []), ['verdict', 'Verdict'],
    ...(shownValue(state) ? [['value', 'Value shown']] : []), ...index.groups.map((column, g) => [`group-${g}`, column.name])],
  'rank', (value) => sortBy(value, false));
  const reversing = html('button', {
    type: 'button', 'aria-pressed': 'false', onclick: () => sortBy(state.sort, !state.descending),
  }, 'Reversed');
  const views = [['cards', 'Pictures'], ['rows', 'Table']].map(([view, text]) => html('button', {
    type: 'button', 'aria-pressed': String(view === state.view), onclick: () => {
      state.view = view;
      views.forEach((button, n) => button.setAttribute('aria-pressed', String(['cards', 'rows'][n] === view)));
      show();
    } }, text));
  const values = shownValue(state) ? [
    measureChoice('Value shown', 0, (value) => { state.measure = Number(value); find({ keepPage: state.sort !== 'value' }); }),
    labelChoice('of label', 0, (value) => { state.label = Number(value); find({ keepPage: state.sort !== 'value' }); })] : [];

  place.append(
    html('div', { class: 'controls', role: 'search', 'aria-label': 'Find cases' }, field('Search case ids', search, 'wide'),
      present.length > 1 ? statusFilter : null, codes.length ? reasonFilter : null, ...groupFilters),
    html('div', { class: 'controls' }, sorting, reversing, ...values, html('div', { class: 'together', role: 'group', 'aria-label': 'View' }, ...views)),
    found, list, pager);
  await find();

  // From a table of reasons to its cases.
  return (status, code) => {
    Object.assign(state, { status, reason: codes.includes(code) ? code : ANY });
    statusFilter.querySelector('select').value = status;
    reasonFilter.querySelector('select').value = state.reason;
    document.getElementById('cases-heading').focus();
    return find();
  };
}
