// Elements of the page. Text is only ever set as text: a case id may hold anything.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// A control under its label.
let fields = 0;
function field(label, control, kind = '') {
  control.id = `field-${fields += 1}`;
  return html('div', { class: `field ${kind}` }, html('label', { for: control.id, dir: 'auto' }, label), control);
}

// A labelled select; options are [value, text].
function choice(label, options, value, onchange) {
  const select = html('select', { onchange: () => onchange(select.value) });
  for (const [key, text] of options) select.append(html('option', { value: key, selected: String(key) === String(value) }, text));
  return field(label, select);
}

function labelChoice(label, value, onchange, first = []) {
  return choice(label, [...first, ...study.labels.map((name, n) => [n, name])], value, onchange);
}

function measureChoice(label, value, onchange) {
  return choice(label, study.measures.map((measure, n) => [n, measure.heading]), value, onchange);
}

function verdictMark(status) {
  return html('span', { class: `verdict ${status}` }, status);
}

// A table from headings and rows; a heading or cell is text, a number, or an element. Numbers stand to the right.
function table(caption, headings, rows) {
  const isNumber = headings.map((_, n) => rows.some((row) => typeof row[n] === 'number'));
  const cell = (value) => (value instanceof Node ? value : spelled(value));
  return html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    html('table', {},
      html('caption', { dir: 'auto' }, caption),
      html('thead', {}, html('tr', {}, ...headings.map((heading, n) => (
        html('th', { scope: 'col', class: isNumber[n] ? 'number' : null }, heading))))),
      html('tbody', {}, ...rows.map((row) => html('tr', {}, ...row.map((value, n) => (
        n === 0 ? html('th', { scope: 'row', dir: 'auto' }, cell(value))
          : html('td', { class: isNumber[n] ? 'number' : null, dir: isNumber[n] ? null : 'auto' }, cell(value)))))))));
}

// A button that looks like a link and opens a case.
async function caseLink(n) {
  const ids = await jsonColumn('ids');
  return html('button', { type: 'button', class: 'link', dir: 'auto', onclick: () => openCase(n) }, ids[n]);
}

// Redraws when the width of an element changes, and only then. A hidden window has none and is not drawn for.
function onWidthChange(element, redraw) {
  const narrowest = 200;
  let width = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth !== width && element.clientWidth >= narrowest) {
      width = element.clientWidth;
      redraw();
    }
  }).observe(element);
}
