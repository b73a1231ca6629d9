// Charts over time, in the page's colours. The axis counts seconds back from now.
import { element } from './dom.js';

const charts = new Set();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function faded(hex, alpha) {
  const value = Number.parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
}

function paint(chart) {
  chart.data.datasets.forEach((set) => {
    const line = colour(set.colourName);
    set.borderColor = line;
    set.backgroundColor = faded(line, set.isFilled ? 0.22 : 0);
  });
  for (const axis of Object.values(chart.options.scales)) {
    axis.ticks.color = colour('--muted');
    axis.grid.color = colour('--line');
    axis.grid.borderColor = colour('--line');
  }
}

function secondsText(value) {
  if (value === 0) return 'now';
  const seconds = -value;
  return seconds % 60 === 0 ? `−${seconds / 60} min` : `−${seconds} s`;
}

// `series`: {label, colour, value: (sample) => number, fills}; `format`: number to text; `most`: the
// axis' end, where it is known; `isWhole`: no fractions on it.
export class LiveChart {
  constructor({ title, hint, series, format, most, stacked = false, isWhole = false }) {
    this.series = series;
    this.format = format;
    this.title = title;
    this.canvas = element('canvas', { role: 'img', 'aria-label': title });
    this.values = series.map(() => element('strong', {}, '–'));
    this.node = element('figure', { class: 'chart' },
      element('figcaption', {}, element('h2', {}, title), hint ? element('p', { class: 'quiet' }, hint) : null),
      element('ul', { class: 'legend' }, ...series.map((one, index) =>
        element('li', { class: one.colour }, `${one.label} `, this.values[index]))),
      element('div', { class: 'canvas' }, this.canvas));
    if (!globalThis.Chart) return;
    this.chart = new globalThis.Chart(this.canvas, {
      type: 'line',
      data: {
        datasets: series.map((one) => ({
          label: one.label, data: [], colourName: `--${one.colour}`, isFilled: one.fills ?? stacked,
          fill: one.fills || stacked ? (stacked ? 'stack' : 'origin') : false,
          borderWidth: 1.75, pointRadius: 0, pointHitRadius: 6, spanGaps: false,
          cubicInterpolationMode: 'monotone',
        })),
      },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
        interaction: { mode: 'index', intersect: false },
        plugins: {
          legend: { display: false },
          tooltip: {
            displayColors: true, boxWidth: 8, boxHeight: 8,
            callbacks: {
              title: (items) => (items.length ? `${Math.round(-items[0].parsed.x)} s ago` : ''),
              label: (item) => `${item.dataset.label}: ${format(item.parsed.y)}`,
            },
          },
        },
        scales: {
          x: {
            type: 'linear', min: -120, max: 0,
            ticks: { stepSize: 60, maxRotation: 0, autoSkip: false, callback: secondsText, font: { size: 11 } },
            grid: { display: false, drawBorder: true },
          },
          y: {
            min: 0, suggestedMax: most, max: most, stacked,
            ticks: { maxTicksLimit: 4, precision: isWhole ? 0 : undefined, callback: (value) => format(value), font: { size: 11 } },
            grid: { drawBorder: false, drawTicks: false },
          },
        },
      },
    });
    paint(this.chart);
    charts.add(this);
  }

  // `window`: seconds shown.
  update(samples, window) {
    const now = samples.at(-1);
    if (!now) return;
    const texts = this.series.map((one, index) => {
      const text = this.format(one.value(now));
      this.values[index].textContent = text;
      return `${one.label} ${text}`;
    });
    this.canvas.setAttribute('aria-label', `${this.title}: ${texts.join(', ')}`);
    if (!this.chart) return;
    const shown = samples.filter((sample) => now.time - sample.time <= window * 1000 + 1000);
    this.chart.data.datasets.forEach((set, index) => {
      const { value } = this.series[index];
      set.data = [];
      let last = 0;
      for (const sample of shown) {
        const x = (sample.time - now.time) / 1000;
        // A hole where the page did not look.
        if (last && sample.time - last > 8000) set.data.push({ x: x - 0.1, y: NaN });
        last = sample.time;
        const y = value(sample);
        set.data.push({ x, y: Number.isFinite(y) ? y : NaN });
      }
    });
    this.chart.options.scales.x.min = -window;
    this.chart.options.scales.x.ticks.stepSize = window <= 120 ? 30 : window / 5;
    this.chart.update('none');
  }
}

export function repaint() {
  for (const { chart } of charts) {
    paint(chart);
    chart.update('none');
  }
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
