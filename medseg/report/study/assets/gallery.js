// All cases: searched, filtered, sorted, and shown a page at a time as cards or rows.

const ANY = '';
const SEGMENTED = 'segmented'; // every verdict of a case that has a segmentation
const UNSEGMENTED = ['refused', 'failed'];
const PAGE = 48;
const MOST_OPTIONS = 200;

// The columns that finding and sorting need of every case.
async function caseIndex() {
  const [ids, statuses, scores, ranks, reasons, pictures, labelCounts, ...groups] = await Promise.all([
    jsonColumn('ids'), jsonColumn('statuses'), numberColumn('scores'), jsonColumn('ranks'), jsonColumn('reasons'),
    jsonColumn('pictures'), jsonColumn('label-counts'), ...study.groups.map(caseColumn)]);
  return {
    ids, statuses, scores, ranks, pictures, labelCounts, groups, reasons: reasons[0], reasonPlaces: reasons[1],
    searched: ids.map((id) => id.toLowerCase()),
  };
}

function matching(index, state) {
  const query = state.query.trim().toLowerCase();
  const fits = study.statuses.map((status) => (
    state.status === SEGMENTED ? !UNSEGMENTED.includes(status) : state.status === ANY || state.status === status));
  const withCode = new Set(index.reasons.flatMap(([code], n) => (code === state.reason ? [n] : [])));
  const groups = index.groups.flatMap((column) => {
    const wanted = state.groups.get(column.name) ?? ANY;
    return wanted === ANY ? [] : [[column.codes, Number(wanted)]];
  });
  const found = [];
  for (let n = 0; n < index.ids.length; n += 1) {
    if (fits[index.statuses[n]]
      && (state.reason === ANY || index.reasonPlaces[n].some((place) => withCode.has(place)))
      && groups.every(([codes, wanted]) => codes[n] === wanted)
      && (query === '' || index.searched[n].includes(query))) found.push(n);
  }
  return found;
}

// What cases are sorted by, ascending; NaN is missing and comes last in both directions.
async function sortKeys(index, state) {
  if (state.sort === 'rank') return index.ranks;
  if (state.sort === 'score') return index.scores;
  if (state.sort === 'verdict') return index.statuses;
  if (state.sort === 'value') return valueColumn(state.label, state.measure);
  if (state.sort.startsWith('group-')) return textRanks(index.groups[Number(state.sort.slice(6))]);
  index.idRanks ??= ranksOf(index.ids);
  return index.idRanks;
}

function ranksOf(texts) {
  const { compare } = new Intl.Collator('en', { numeric: true });
  const order = texts.map((_, n) => n).sort((a, b) => compare(texts[a], texts[b]) || a - b);
  const ranks = new Uint32Array(texts.length);
  order.forEach((n, rank) => { ranks[n] = rank; });
  return ranks;
}

function textRanks({ texts, codes }) {
  const ranks = ranksOf(texts);
  return codes.map((code) => (code < 0 ? NaN : ranks[code]));
}

function sorted(found, keys, descending, ranks) {
  const sign = descending ? -1 : 1;
  return found.sort((a, b) => {
    const [first, second] = [keys[a], keys[b]];
    const [lacks, other] = [Number.isNaN(first), Number.isNaN(second)];
    if (lacks || other) return lacks - other || ranks[a] - ranks[b];
    return sign * (first - second) || ranks[a] - ranks[b];
  });
}

// The picture of a case as an image, or words that say why there is none.
function casePicture(index, n, { eager = false } = {}) {
  const id = index.ids[n];
  const absent = (text) => html('span', { class: 'absent', dir: 'auto' }, `${id}: ${text}`);
  if (index.pictures[n] === null) return absent(`no picture (${study.statuses[index.statuses[n]]})`);
  const embedded = document.getElementById(`picture-${n}`);
  const count = index.labelCounts[n];
  const image = html('img', {
    alt: `${id}: overlay of the segmentation on the scan, ${count} ${count === 1 ? 'label' : 'labels'}`,
    loading: eager ? 'eager' : 'lazy', decoding: 'async',
    onerror: () => image.replaceWith(absent('its picture is not beside this page')),
  });
  image.src = embedded ? `data:${embedded.type};base64,${embedded.textContent}` : index.pictures[n];
  return image;
}

function shownValue(state) {
  return study.labels.length && study.measures.length ? { label: study.labels[state.label], measure: study.measures[state.measure] } : null;
}

function card(index, n, values, state) {
  const shown = shownValue(state);
  const codes = index.reasonPlaces[n].map((place) => index.reasons[place][0]);
  const details = [
    study.hasScores && !Number.isNaN(index.scores[n]) ? `${study.scoreName}: ${spelled(index.scores[n])}` : '',
    shown && values && !Number.isNaN(values[n]) ? `${shown.label}: ${spelled(values[n])} ${shown.measure.unit}` : '',
    index.groups.map((column) => column.at(n)).filter((text) => text !== null).join(', '),
  ].filter(Boolean);
  return html('li', { class: 'card' },
    html('button', { type: 'button', class: 'open', 'aria-haspopup': 'dialog', 'data-case': n, onclick: () => openCase(n) }, casePicture(index, n)),
    html('div', { class: 'text' },
      html('span', { class: 'name clamp', dir: 'auto', title: index.ids[n] }, index.ids[n]),
      html('span', { class: 'clamp' }, verdictMark(study.statuses[index.statuses[n]]), codes.length ? `: ${[...new Set(codes)].join(', ')}` : ''),
      ...details.map((text) => html('span', { class: 'faint clamp', dir: 'auto' }, text))));
}

function caseTable(index, shownCases, values, state, sortBy) {
  const shown = shownValue(state);
  const columns = [
    ['id', 'Case', (n) => html('button', { type: 'button', class: 'link clamp', 'aria-haspopup': 'dialog', 'data-case': n, onclick: () => openCase(n) }, index.ids[n])],
    ['verdict', 'Verdict', (n) => verdictMark(study.statuses[index.statuses[n]])],
    ...(study.hasScores ? [['score', study.scoreName, (n) => spelled(index.scores[n])]] : []),
    ...(shown ? [['value', `${shown.label}: ${shown.measure.heading}`, (n) => spelled(values[n])]] : []),
    ...index.groups.map((column, g) => [`group-${g}`, column.name, (n) => spelled(column.at(n))]),
    [null, 'Reasons', (n) => [...new Set(index.reasonPlaces[n].map((place) => index.reasons[place][0]))].join(', ')],
  ];
  const direction = (key) => (state.sort !== key ? 'none' : state.descending ? 'descending' : 'ascending');
  const numeric = (key) => (key === 'score' || key === 'value' ? 'number' : null);
  return html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table of cases' }, html('table', {},
    html('caption', { class: 'unseen' }, 'Cases; a heading sorts by its column'),
    html('thead', {}, html('tr', {}, ...columns.map(([key, heading]) => (key === null ? html('th', { scope: 'col' }, heading)
      : html('th', { scope: 'col', 'aria-sort': direction(key), class: numeric(key) },
        html('button', { type: 'button', class: 'sort', 'data-sort': key, onclick: () => sortBy(key) }, heading)))))),
    html('tbody', {}, ...shownCases.map((n) => html('tr', {}, ...columns.map(([key, , content]) => (
      key === 'id' ? html('th', { scope: 'row', dir: 'auto' }, content(n)) : html('td', { class: numeric(key), dir: 'auto' }, content(n)))))))));
}
