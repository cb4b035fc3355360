// What is wrong with a page as it is laid out: a list of sentences, as JSON.
(() => {
  const found = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`is ${wide} of ${innerWidth} px wide`);
  const levels = [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')]
    .map(each => Number(each.tagName[1]));
  if (levels.filter(level => level == 1).length != 1) found.push('has no one h1');
  levels.forEach((level, i) => {
    if (i && level > levels[i - 1] + 1) found.push(`goes from h${levels[i - 1]} to h${level}`);
  });
  for (const each of document.querySelectorAll('img'))
    if (!each.hasAttribute('alt')) found.push('has a picture without alt');
  for (const each of document.querySelectorAll('svg[role=img]'))
    if (!each.getAttribute('aria-label') && !each.querySelector('title'))
      found.push('has a drawing without a text');
  for (const each of document.querySelectorAll('input,button,select'))
    if (!each.labels?.length && !each.ariaLabel && !each.textContent.trim())
      found.push('has a field without a label');
  if (!document.documentElement.lang) found.push('has no language');
  const parse = text => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
  };
  const told = new Set();
  for (const each of document.querySelectorAll('body *')) {
    if (each.closest('svg') || !each.getClientRects().length) continue;
    const text = [...each.childNodes].filter(node => node.nodeType == 3)
      .map(node => node.textContent).join('').trim();
    if (!text) continue;
    const style = getComputedStyle(each), size = parseFloat(style.fontSize);
    const [a, b] = [light(parse(style.color)), light(ground(each))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const kind = `${each.tagName} ${each.className}`;
    if (contrast < (large ? 3 : 4.5) && !told.has(kind)) {
      told.add(kind);
      found.push(`has a contrast of ${contrast.toFixed(2)} in ${kind}: ${text.slice(0, 30)}`);
    }
  }
  return JSON.stringify(found);
})()
