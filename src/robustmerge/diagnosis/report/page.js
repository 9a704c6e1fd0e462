const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("specs"), looks = read("looks");
const containers = [...document.querySelectorAll("[data-figure]")];
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const views = new Map();
let chosen = null;  // by the button; until then the theme of the system is used

const look = () => chosen ?? (dark.matches ? "dark" : "light");

// The choices of all menus, to restore them after a figure is drawn again.
const choices = (name) => Object.fromEntries(
  (specs[name].params ?? [])
    .filter((param) => param.bind && views.has(name))
    .map((param) => [param.name, views.get(name).view.signal(param.name)])
);

// Legends have two columns on a phone.
const config = (theme) => innerWidth > 560 ? looks[theme]
  : { ...looks[theme], legend: { ...looks[theme].legend, columns: 2 } };

async function draw(container, theme) {
  const name = container.dataset.figure, before = choices(name);
  views.get(name)?.finalize();
  const drawn = await window.vegaEmbed(container, specs[name], {
    config: config(theme), renderer: "svg", tooltip: { theme }, downloadFileName: name,
    actions: { export: true, source: false, compiled: false, editor: false },
  });
  views.set(name, drawn);
  for (const [param, value] of Object.entries(before)) drawn.view.signal(param, value);
  await drawn.view.runAsync();
}

async function all(theme = look()) {
  root.dataset.theme = theme;
  await Promise.all(containers.map((container) => draw(container, theme).catch((error) => {
    container.textContent = `This figure could not be drawn: ${error.message}`;
    console.error(`${container.dataset.figure}: ${error.message}`);
  })));
  root.dataset.drawn = containers.filter((container) => container.querySelector("svg")).length;
}

document.getElementById("theme").addEventListener("click", () => {
  chosen = look() === "dark" ? "light" : "dark";
  all();
});
dark.addEventListener("change", () => chosen ?? all());
addEventListener("beforeprint", () => look() === "dark" && all("light"));
addEventListener("afterprint", () => look() === "dark" && all());
all();
