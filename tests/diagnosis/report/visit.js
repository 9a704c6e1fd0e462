// A visitor: looks, chooses from a menu, points at a square, changes the colors, tries the network.
const root = document.documentElement;
const drawn = async () => { while (!root.dataset.drawn) await new Promise((f) => setTimeout(f, 20)); };
const seen = {};
await drawn();
seen.drawn = Number(root.dataset.drawn);
seen.empty = [...document.querySelectorAll(".chart")]
  .filter((x) => !x.querySelector("svg .mark-rect path, svg .mark-symbol path, svg .mark-line path"))
  .map((x) => x.dataset.figure);
seen.width = innerWidth;
seen.theme = root.dataset.theme;
seen.wide = root.scrollWidth - root.clientWidth;
seen.over = [...document.querySelectorAll(".chart svg")]
  .filter((x) => x.getBoundingClientRect().right > x.closest("figure").getBoundingClientRect().right + 1)
  .map((x) => x.closest("figure").id);
const chart = () => document.querySelector("#map-norm .chart");
const colors = () => [...chart().querySelectorAll(".mark-rect path")].map((x) => x.getAttribute("fill")).join();
const menu = () => chart().querySelector("select");
const before = colors();
menu().value = menu().options[1].value;
menu().dispatchEvent(new Event("input", { bubbles: true }));
menu().dispatchEvent(new Event("change", { bubbles: true }));
await new Promise((f) => setTimeout(f, 200));
const after = colors();
seen.chosen = before !== after;
const square = chart().querySelector(".mark-rect path"), at = square.getBoundingClientRect();
square.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: at.x + 3, clientY: at.y + 3 }));
square.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: at.x + 3, clientY: at.y + 3 }));
await new Promise((f) => setTimeout(f, 200));
seen.tooltip = document.querySelector("#vg-tooltip-element.visible")?.textContent ?? "";
delete root.dataset.drawn;
document.getElementById("theme").click();
await drawn();
seen.other = root.dataset.theme;
seen.kept = menu().selectedIndex;
seen.repainted = colors() !== after;
seen.drawn_again = Number(root.dataset.drawn);
try { await fetch("http://localhost:9/"); seen.network = "open"; } catch { seen.network = "closed"; }
parent.postMessage(seen, "*");
