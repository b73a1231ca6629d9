// Before anything is painted: the colours that were chosen here, else the system's.
(() => {
  try {
    const theme = localStorage.getItem('sluice-theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // This browser keeps nothing.
  }
})();
