// Boxes in the legend hide and show what belongs to a run.
for (const entry of document.querySelectorAll('.legend [data-legend]')) {
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = true;
  box.setAttribute('aria-label', 'show ' + entry.querySelector('.name').textContent);
  box.addEventListener('change', () => {
    for (const part of document.querySelectorAll('[data-run="' + entry.dataset.legend + '"]')) {
      part.classList.toggle('off', !box.checked);
    }
  });
  entry.prepend(box);
}
