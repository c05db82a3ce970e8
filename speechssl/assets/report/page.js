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
  // A number is written on a unit where there is room for it.
  const texts = [...tracks.querySelectorAll("text[data-n]")];
  new ResizeObserver(() => {
    const framePx = tracks.clientWidth / (seconds * rate);
    for (const text of texts) text.classList.toggle("fits", text.dataset.n * framePx > 6.4 * text.textContent.length + 3);
  }).observe(tracks);
}

function segments(tracks, name) {
  return [...tracks.querySelectorAll(`.${name} rect`)].map((rect) => ({
    start: Number(rect.getAttribute("x")), length: Number(rect.getAttribute("width")), label: rect.dataset.l,
  }));
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
for (const rect of document.querySelectorAll(".bars rect[data-l]")) rect.addEventListener("click", () => pick(rect.dataset.l));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") pick(undefined); });
