// The grid of pictures: drawing it, and walking it by the arrow keys.

/** Draws hits in place of what a list held; `like` is called with the hit whose alikes are wanted. */
export function showHits(list, hits, like) {
  const template = document.getElementById("hit");
  list.replaceChildren(
    ...hits.map((hit) => {
      const item = template.content.cloneNode(true);
      const [link, image] = [item.querySelector("a"), item.querySelector("img")];
      link.href = hit.full;
      image.src = hit.thumb;
      const name = shortName(hit.name);
      image.alt = name;
      item.querySelector(".name").textContent = name;
      item.querySelector(".name").title = hit.name;
      const alike = item.querySelector(".alike");
      if (hit.alike) {
        alike.textContent = `+${hit.alike}`;
        alike.title = "pictures that look the same are shown once";
      } else alike.remove();
      item.firstElementChild.classList.toggle("low", hit.low ?? false);
      const score = item.querySelector(".score");
      if (hit.score === null) score.remove();
      else {
        score.value = hit.score;
        score.textContent = hit.score.toFixed(3);
        score.title = "cosine of the two embeddings: 1 is the same, 0 has nothing to do with it";
      }
      const more = item.querySelector(".like");
      more.setAttribute("aria-label", `More like ${name}`);
      more.addEventListener("click", () => like(hit));
      item.firstElementChild.dataset.key = hit.key;
      return item;
    }),
  );
}

/** A file's name without its folders and its suffix. */
export function shortName(path) {
  return path.split("/").pop().replace(/(?<=.)\.[^.]+$/, "");
}

/** Moves the focus: down from the box into the grid, in the grid by the columns that it has, up to the box again. */
export function arrows(event, box, list) {
  const links = [...list.querySelectorAll("a.open")];
  const current = links.indexOf(document.activeElement);
  let next = null;
  if (document.activeElement === box) {
    if (event.key === "ArrowDown") next = 0;
  } else if (current >= 0) {
    const top = links[0].getBoundingClientRect().top;
    const columns = links.filter((link) => link.getBoundingClientRect().top === top).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step) next = current + step;
  }
  if (next === null) return;
  event.preventDefault();
  if (next < 0) box.focus();
  else links[Math.min(next, links.length - 1)]?.focus();
}
