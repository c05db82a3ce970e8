"use strict";
// One player and one set of tracks per utterance: the cursor follows the sound, clicks and keys move the sound.
for (const article of document.querySelectorAll(".utterance")) {
  const tracks = article.querySelector(".tracks");
  const scroll = article.querySelector(".scroll");
  const audio = article.querySelector("audio");
  const cursor = article.querySelector(".cursor");
  const readout = article.querySelector(".readout");
  const rate = Number(tracks.dataset.rate);
  const seconds = Number(tracks.dataset.span) / rate;
  const lines = ["units", "labels"].map((name) => [name, segments(tracks, name)]).filter(([, found]) => found.length);
  const units = lines.length && lines[0][0] === "units" ? lines[0][1] : [];
  let position = 0;

  const at = (list, time) => list.find((s) => time * rate >= s.start && time * rate < s.start + s.length);

  function say(time) {
    readout.replaceChildren(`${time.toFixed(2)} s`);
    for (const [name, list] of lines) {
      const found = at(list, time);
      if (!found) continue;
      const label = document.createElement("b");
      label.textContent = found.label;
      readout.append(name === "units" ? "  unit " : "  label ", label, ` (${Math.round((1000 * found.length) / rate)} ms)`);
    }
  }
  function show(time) {
    position = Math.min(Math.max(time, 0), seconds);
    cursor.hidden = false;
    cursor.style.left = `${(100 * position) / seconds}%`;
    const place = (position / seconds) * tracks.clientWidth - scroll.scrollLeft; // a long timeline scrolls along
    if (place < 0 || place > scroll.clientWidth) scroll.scrollLeft += place - 0.1 * scroll.clientWidth;
    tracks.setAttribute("aria-valuenow", position.toFixed(2));
    say(position);
    tracks.setAttribute("aria-valuetext", readout.textContent);
  }
  function seek(time) {
    show(time);
    if (audio && Math.abs(audio.currentTime - position) > 1e-3) audio.currentTime = Math.min(position, audio.duration || position);
  }
  function follow() {
    show(audio.currentTime);
    if (!audio.paused) requestAnimationFrame(follow);
  }
  if (audio) {
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      follow();
    });
    audio.addEventListener("timeupdate", () => { if (audio.paused && audio.currentTime) show(audio.currentTime); });
  }
  const timeOf = (event) => {
    const box = tracks.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * seconds;
  };
  tracks.addEventListener("click", (event) => seek(timeOf(event)));
  tracks.addEventListener("dblclick", (event) => pick(at(units, timeOf(event))?.label));
  tracks.addEventListener("pointermove", (event) => say(Math.min(Math.max(timeOf(event), 0), seconds)));
  tracks.addEventListener("pointerleave", () => (cursor.hidden ? readout.replaceChildren() : say(position)));
  tracks.addEventListener("keydown", (event) => {
    const now = position * rate + 1e-6;
    const next = units.find((s) => s.start > now);
    const previous = units.findLast((s) => s.start < now - 1e-3);
    const moves = {
      ArrowRight: () => seek(next ? next.start / rate : seconds),
      ArrowLeft: () => seek(previous ? previous.start / rate : 0),
      Home: () => seek(0),
      End: () => seek(seconds),
      PageDown: () => seek(position + 1),
      PageUp: () => seek(position - 1),
      " ": () => audio && (audio.paused ? audio.play() : audio.pause()),
      Enter: () => pick(at(units, position)?.label),
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  });
  fit(tracks, seconds * rate);
}

// A label is written on a stretch of a timeline where there is room for it.
function fit(tracks, frames) {
  const texts = [...tracks.querySelectorAll("text[data-n]")];
  new ResizeObserver(() => {
    const framePx = tracks.clientWidth / frames;
    for (const text of texts) text.classList.toggle("fits", text.dataset.n * framePx > 6.4 * text.textContent.length + 3);
  }).observe(tracks);
}

function segments(tracks, name) {
  return [...tracks.querySelectorAll(`.${name} rect`)].map((rect) => ({
    start: Number(rect.getAttribute("x")), length: Number(rect.getAttribute("width")), label: rect.dataset.l,
  }));
}
// Phones against units: the numbers under the pointer, or under a cell that arrow keys move.
for (const heat of document.querySelectorAll(".heat")) {
  const cells = heat.querySelector(".cells");
  const readout = heat.querySelector(".readout");
  const column = heat.querySelector(".column");
  const row = heat.querySelector(".row");
  const { phones, units, counts, frames } = JSON.parse(cells.dataset.map);
  const totals = units.map((_, x) => counts.reduce((sum, line) => sum + line[x], 0));
  const percent = (part, all) => `${((100 * part) / all).toFixed(1)} %`;
  const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
  let place = null;

  function show(x, y) {
    place = [within(x, units.length), within(y, phones.length)];
    [x, y] = place;
    for (const mark of [column, row]) mark.hidden = false;
    Object.assign(column.style, { left: `${(100 * x) / units.length}%`, width: `${100 / units.length}%` });
    Object.assign(row.style, { top: `${(100 * y) / phones.length}%`, height: `${100 / phones.length}%` });
    const best = counts.reduce((found, line, k) => (line[x] > counts[found][x] ? k : found), 0);
    const [unit, phone] = [units[x], phones[y]].map((text) => {
      const shown = document.createElement("b");
      shown.textContent = text;
      return shown;
    });
    const count = counts[y][x];
    readout.replaceChildren("unit ", unit, " · phone ", phone, `: ${percent(count, totals[x])} of the unit’s time, `,
      `${percent(count, frames[y])} of the phone’s; the unit is mostly ${phones[best]} (${percent(counts[best][x], totals[x])})`);
  }
  function leave() {
    column.hidden = row.hidden = true;
    place = null;
    readout.replaceChildren();
  }
  const cellOf = (event) => {
    const box = cells.getBoundingClientRect();
    return [Math.floor(((event.clientX - box.left) / box.width) * units.length),
      Math.floor(((event.clientY - box.top) / box.height) * phones.length)];
  };
  cells.addEventListener("pointermove", (event) => show(...cellOf(event)));
  cells.addEventListener("pointerleave", leave);
  cells.addEventListener("blur", leave);
  cells.addEventListener("click", (event) => pick(String(units[within(cellOf(event)[0], units.length)])));
  cells.addEventListener("keydown", (event) => {
    const [x, y] = place ?? [0, 0];
    const moves = { ArrowRight: [x + 1, y], ArrowLeft: [x - 1, y], ArrowDown: [x, y + 1], ArrowUp: [x, y - 1], Home: [0, y],
      End: [units.length - 1, y], Enter: [x, y] };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(...moves[event.key]);
    if (event.key === "Enter") pick(String(units[x]));
  });
  const under = heat.querySelector(".under");
  fit(under, Number(under.dataset.frames));
}
// One unit, highlighted wherever it occurs; the same again, or Escape, ends it.
let picked = null;
function pick(unit) {
  picked = unit === undefined || unit === picked ? null : unit;
  document.body.classList.toggle("picking", picked !== null);
  for (const rect of document.querySelectorAll(".units rect, .bars rect[data-l]")) {
    rect.classList.toggle("picked", rect.dataset.l === picked);
  }
  for (const text of document.querySelectorAll(".units text")) text.classList.toggle("picked", text.textContent === picked);
}
for (const rect of document.querySelectorAll(".bars rect[data-l], .under .units rect")) rect.addEventListener("click", () => pick(rect.dataset.l));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") pick(undefined); });
