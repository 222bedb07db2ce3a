// Starts each part of the page that is there.

function startCopying(button, text, answer) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const paragraphs = [...text.querySelectorAll('p')].map((p) => p.textContent).join('\n\n');
    try {
      await navigator.clipboard.writeText(paragraphs);
      answer.textContent = 'Copied.';
    } catch (error) { // a page that came from another computer unencrypted has no clipboard
      if (!(error instanceof DOMException || error instanceof TypeError)) throw error;
      getSelection().selectAllChildren(text);
      answer.textContent = 'Selected: copy it with Ctrl+C, or Cmd+C on a Mac.';
    }
  });
}

async function start() {
  const part = (id) => document.getElementById(id);
  if (part('copy')) startCopying(part('copy'), part('methods-text'), part('copied'));
  if (typeof DecompressionStream === 'undefined') {
    part('problem').textContent = 'Plots and the grid of cases need a browser of 2023 or later (DecompressionStream).';
    part('problem').hidden = false;
    return;
  }
  startCase(part('case'));
  const showReason = await startBrowser(part('case-browser'));
  for (const button of document.querySelectorAll('.show-reason')) {
    button.hidden = false;
    button.addEventListener('click', () => showReason(button.dataset.status, button.dataset.code));
  }
  if (part('distribution')) await startDistributions(part('distribution-controls'), part('distribution'));
  if (part('agreement-plot')) await startAgreement(part('agreement-controls'), part('agreement-plot'));
  document.documentElement.dataset.ready = ''; // for tests and benchmarks: all is drawn
}

start();
