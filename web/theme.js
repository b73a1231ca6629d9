// Before anything is painted: the colours that were chosen here, else the system's.
(() => {
  const theme = localStorage.getItem('sluice-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
