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
      const next = new DOMParser().parseFromString(await answer.text(), "text/html"), focus = document.activeElement;
      become(document.getElementById("main"), next.getElementById("main"));
      become(note, next.getElementById("live"));
      if (focus.isConnected && focus !== document.activeElement) focus.focus({ preventScroll: true }); // it was moved
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

// become makes a part of the page what it is in the next one. Of a node's children
// each becomes the next one that is called as it is, wherever that stands.
function become(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeType !== Node.ELEMENT_NODE) { now.nodeValue = next.nodeValue; return; }
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value && !mine(now, name)) now.setAttribute(name, value);
  for (const { name } of [...now.attributes]) if (!next.hasAttribute(name) && !mine(now, name)) now.removeAttribute(name);
  if (now.matches("input, select, textarea")) return;
  const left = new Map();
  for (const node of now.childNodes) {
    const as = called(node);
    if (left.has(as)) left.get(as).push(node); else left.set(as, [node]);
  }
  const all = [...next.childNodes].map((child) => {
    const node = left.get(called(child))?.shift();
    if (node) become(node, child);
    return node || document.importNode(child, true);
  });
  for (const nodes of left.values()) for (const node of nodes) node.remove();
  let at = now.firstChild;
  for (const node of all) {
    // Texts make room for elements: one that is moved loses the focus.
    while (at && at !== node && at.nodeType !== Node.ELEMENT_NODE && node.nodeType === Node.ELEMENT_NODE) at = at.nextSibling;
    if (node === at) at = at.nextSibling; else now.insertBefore(node, at);
  }
}

// called tells a node from its neighbours: by its id, else by what it looks like.
function called(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
  return node.nodeName + (node.id ? "#" + node.id : "." + node.getAttribute("class") + " " + node.getAttribute("aria-labelledby"));
}

// mine reports whether an attribute is the reader's doing.
function mine(element, name) { return name === "open" && element.nodeName === "DETAILS" || name === "tabindex"; }

function lost() { tag = ""; note.textContent = "The agent does not answer: this is as it was. It is tried again."; }

let first = true; // the page is as it was made a moment ago

let events, later; // what the agent tells, and when it is asked again for that

// listen hears of changes while the page is seen: a browser has six connections to a
// host, for all its tabs.
function listen() {
  clearTimeout(later);
  events?.close();
  if (document.hidden) return;
  const told = events = new EventSource("/live");
  told.addEventListener("change", () => { if (first) first = false; else look(); });
  told.addEventListener("error", () => {
    if (told.readyState !== EventSource.CLOSED) { lost(); return; } // it tries again by itself
    first = false;
    later = setTimeout(() => { look(); listen(); }, 10000); // there are too many readers, or the agent is another one
  });
}
listen();
document.addEventListener("visibilitychange", () => { listen(); look(); });
