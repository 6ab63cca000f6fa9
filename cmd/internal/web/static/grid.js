// Has the arrow keys go from square to square of a grid, of which Tab reaches one.
"use strict";
{
  const main = document.getElementById("main");
  const all = () => [...main.querySelectorAll(".grid a")];

  // rove has Tab reach one square only: that, else the one that it reached last.
  function rove(one) {
    const squares = all();
    if (!squares.includes(one)) one = squares.find((a) => a.getAttribute("tabindex") === "0") || squares[0];
    for (const a of squares) {
      const index = a === one ? "0" : "-1";
      if (a.getAttribute("tabindex") !== index) a.setAttribute("tabindex", index);
    }
  }

  // line is what stands on the height of a square in its part of the grid.
  function line(square) {
    const top = square.getBoundingClientRect().top;
    return [...square.closest(".rows").querySelectorAll("a")].filter((a) => Math.abs(a.getBoundingClientRect().top - top) < 4);
  }

  // beside is the square above or below.
  function beside(squares, at, step) {
    const from = squares[at].getBoundingClientRect();
    for (let i = at + step; squares[i]; i += step) {
      const to = squares[i].getBoundingClientRect();
      if (Math.abs(to.left - from.left) < 4 && (to.top - from.top) * step > 4) return squares[i];
    }
  }

  main.addEventListener("focusin", (event) => { if (event.target.matches(".grid a")) rove(event.target); });
  main.addEventListener("keydown", (event) => {
    if (!event.target.matches(".grid a") || event.altKey || event.metaKey || event.shiftKey) return;
    const squares = all(), at = squares.indexOf(event.target);
    let to;
    switch (event.key) {
      case "ArrowLeft": to = squares[at - 1]; break;
      case "ArrowRight": to = squares[at + 1]; break;
      case "ArrowUp": to = beside(squares, at, -1); break;
      case "ArrowDown": to = beside(squares, at, 1); break;
      case "Home": to = event.ctrlKey ? squares[0] : line(event.target)[0]; break;
      case "End": to = event.ctrlKey ? squares.at(-1) : line(event.target).at(-1); break;
      default: return;
    }
    event.preventDefault();
    if (to) to.focus();
  });
  new MutationObserver(() => rove(document.activeElement)).observe(main, { childList: true, subtree: true });
  rove();
}
