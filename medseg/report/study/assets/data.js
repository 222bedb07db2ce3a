// Columns of the study, unpacked when they are first needed. What packs them: columns.py, payload.py.

const study = JSON.parse(document.getElementById('study').textContent);
const MISSING_MANTISSA = -32768;
const unpackedColumns = new Map();

async function unpack(name) {
  const element = document.getElementById(`data-${name}`);
  const letters = atob(element.textContent);
  const packed = new Uint8Array(letters.length);
  for (let n = 0; n < letters.length; n += 1) packed[n] = letters.charCodeAt(n);
  element.remove(); // its text is no longer needed
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Response(stream).arrayBuffer();
}

function once(name, decode) {
  if (!unpackedColumns.has(name)) unpackedColumns.set(name, unpack(name).then(decode));
  return unpackedColumns.get(name);
}

const POWERS = Float64Array.from({ length: 309 }, (_, n) => Number(`1e${n}`));

// A Float64Array, NaN where a number is missing.
function numberColumn(name) {
  return once(name, (buffer) => {
    const count = buffer.byteLength / 4;
    const mantissas = new Int16Array(buffer, 0, count); // little-endian, as is every computer with a browser
    const powers = new Int16Array(buffer, 2 * count, count);
    const numbers = new Float64Array(count);
    for (let n = 0; n < count; n += 1) {
      const power = powers[n];
      // Dividing by a whole power of ten gives the float closest to the decimal; multiplying by 0.001 does not.
      numbers[n] = mantissas[n] === MISSING_MANTISSA ? NaN
        : power < 0 ? mantissas[n] / POWERS[-power] : mantissas[n] * POWERS[power];
    }
    return numbers;
  });
}

function jsonColumn(name) {
  return once(name, (buffer) => JSON.parse(new TextDecoder().decode(buffer)));
}

// A group or covariate: {kind, name, at(case) -> number, text or null}, for text also its different texts and codes.
async function caseColumn(name) {
  const place = study.columns.findIndex((column) => column.name === name);
  const { kind } = study.columns[place];
  if (kind === 'number') {
    const numbers = await numberColumn(`column-${place}`);
    return { kind, name, at: (n) => (Number.isNaN(numbers[n]) ? null : numbers[n]) };
  }
  const [texts, codes] = await jsonColumn(`column-${place}`);
  return { kind, name, texts, codes, at: (n) => (codes[n] < 0 ? null : texts[codes[n]]) };
}

function valueColumn(label, measure) {
  return numberColumn(`value-${label}-${measure}`);
}

// As Python spells numbers in the tables (summary.py).
function spelled(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (typeof value !== 'number') return String(value);
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return value.toExponential(3);
  return size >= 1e4 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
}

function counted(number) {
  return number.toLocaleString('en');
}
