// Has the page look again when the agent says that something has changed, and
// changes nothing else of it: what has the focus, is open or was typed stays.
"use strict";

const note = document.getElementById("live");
let tag = "", looking = false, again = false;

async function look() {
  if (document.hidden || document.getElementById("main").hasAttribute("data-still")) return;
  if (looking) { again = true; return; }
  looking = true;
  const began = performance.now();
  try {
    const answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {} });
    if (answer.status === 304) {
      note.querySelector("time").textContent = answer.headers.get("Gvlan-Now");
    } else if (answer.status === 401) {
      location.reload(); // says how to get in
    } else if (answer.status >= 500) {
      lost();
    } else {
      tag = answer.headers.get("ETag") || "";
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      become(document.getElementById("main"), next.getElementById("main"));
      become(note, next.getElementById("live"));
    }
  } catch {
    lost();
  }
  // However much changes, the agent makes pages for this reader a quarter of the time.
  setTimeout(() => {
    looking = false;
    if (again) { again = false; look(); }
  }, 3 * (performance.now() - began));
}

// become makes a part of the page what it is in the next one. Elements with an id
// are the same ones wherever they have moved to.
function become(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName || now.id !== next.id) {
    now.replaceWith(document.importNode(next, true));
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue;
    return;
  }
  if (now.isEqualNode(next)) return;
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  for (const { name } of [...now.attributes]) if (!next.hasAttribute(name) && !mine(now, name)) now.removeAttribute(name);
  if (now.matches("input, select, textarea")) return;
  let here = now.firstChild;
  for (const child of next.childNodes) {
    const same = child.id && document.getElementById(child.id);
    if (same && same.parentNode === now && same !== here) now.insertBefore(same, here), here = same;
    if (!here) { now.append(document.importNode(child, true)); continue; }
    const following = here.nextSibling;
    if (child.id && here.id !== child.id) { now.insertBefore(document.importNode(child, true), here); continue; }
    become(here, child);
    here = following;
  }
  while (here) { const following = here.nextSibling; here.remove(); here = following; }
}

// mine reports whether an attribute is the reader's doing.
function mine(element, name) { return name === "open" && element.nodeName === "DETAILS" || name === "tabindex"; }

function lost() { tag = ""; note.textContent = "The agent does not answer: this is as it was. It is tried again."; }

let first = true; // the page is as it was made a moment ago

function listen() {
  const events = new EventSource("/live");
  events.addEventListener("change", () => { if (first) first = false; else look(); });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) { lost(); return; } // it tries again by itself
    first = false;
    setTimeout(() => { look(); listen(); }, 10000); // there are too many readers, or the agent is another one
  });
}
listen();
document.addEventListener("visibilitychange", look);
