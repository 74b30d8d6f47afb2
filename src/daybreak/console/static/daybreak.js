// What a page gains where scripts run: it goes on by itself, finds in the log while one types, copies commands.
// Everything else works without.
"use strict";

(() => {
  const STILL_MS = 10000; // so long a stream may be away before anybody is told
  const told = document.getElementById("told");
  const log = document.getElementById("log");
  const search = document.getElementById("log-search");
  const logTold = document.getElementById("log-told");
  let cut = Boolean(logTold) && logTold.textContent.startsWith("The last"); // whether there are lines before those that are shown

  function say(text) {
    if (told && told.textContent !== text) told.textContent = text;
  }

  // The exact instant in the reader's own zone as well, where that is another one.
  function localTimes(root) {
    for (const one of root.querySelectorAll("time[datetime]")) {
      const at = new Date(one.dateTime);
      if (Number.isNaN(at.getTime()) || one.dataset.local) continue;
      one.dataset.local = "yes";
      one.title += ` · yours: ${at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" })}`;
    }
  }

  // What is new takes the place of what was there; who stood on a link still stands on it.
  function replace(live, html) {
    const active = document.activeElement;
    const href = active && live.contains(active) ? active.getAttribute("href") : null;
    live.innerHTML = html;
    localTimes(live);
    if (href) {
      for (const one of live.querySelectorAll("a[href]")) {
        if (one.getAttribute("href") === href) {
          one.focus({ preventScroll: true });
          break;
        }
      }
    }
  }

  // Not under somebody's hands: while he presses there or marks text, the newest waits, but not for long.
  let pressed = false;
  let waiting = null;

  function offer(live, html) {
    if (!waiting) window.setTimeout(settle, STILL_MS);
    waiting = { live, html, until: waiting ? waiting.until : Date.now() + STILL_MS };
    settle();
  }

  function settle() {
    if (!waiting) return;
    const { live, html, until } = waiting;
    const marked = window.getSelection();
    const busy = pressed || (!marked.isCollapsed && marked.getRangeAt(0).intersectsNode(live));
    if (busy && Date.now() < until) return;
    waiting = null;
    replace(live, html);
  }

  document.addEventListener("selectionchange", settle);
  document.addEventListener("pointerdown", () => { pressed = true; });
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, () => window.setTimeout(() => { pressed = false; settle(); }, 0)); // after its click
  }

  function find() {
    if (!log || !search || log.hasAttribute("data-still")) return;
    const wanted = search.value.trim().toLowerCase();
    let found = 0;
    for (const line of log.children) {
      line.hidden = Boolean(wanted) && !line.textContent.toLowerCase().includes(wanted);
      found += line.hidden ? 0 : 1;
    }
    const all = `${cut ? "The last " : ""}${found} ${found === 1 ? "line" : "lines"}.`;
    logTold.textContent = wanted ? `${found} of the lines that are shown have it; the button looks through all of the log.` : all;
  }

  // A page that stands still must not be taken for one that goes on: it says since when, until the stream is back.
  function watch(live) {
    let since = null;
    let timer = 0;
    let notice = null;

    function show() {
      if (notice) return;
      notice = document.createElement("p");
      notice.className = "notice bad stale";
      notice.setAttribute("role", "alert");
      const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" };
      const again = document.createElement("a");
      again.setAttribute("href", "");
      again.textContent = "Load it again";
      notice.append(`Not live since ${since.toLocaleTimeString(undefined, clock)}: what is shown may have changed. `, again);
      live.before(notice);
    }

    function rests() {
      since = since || new Date();
      window.clearTimeout(timer);
      timer = 0;
    }

    function goesOn() {
      window.clearTimeout(timer);
      if (notice) notice.remove();
      since = notice = null;
      timer = 0;
    }

    function attend(source) {
      source.addEventListener("open", goesOn);
      source.addEventListener("end", goesOn);
      source.addEventListener("error", () => {
        since = since || new Date();
        timer = timer || window.setTimeout(show, STILL_MS);
        if (source.readyState === EventSource.CLOSED) show(); // it was refused, and is not tried again
      });
    }

    return { attend, rests };
  }

  function follow(live) {
    const watched = watch(live);
    const address = new URL(live.dataset.events, window.location.href);
    let source = null;
    let over = false;

    function listen() {
      source = new EventSource(address);
      watched.attend(source);
      source.addEventListener("part", (event) => offer(live, event.data));
      source.addEventListener("told", (event) => say(event.data));
      source.addEventListener("log", (event) => {
        address.searchParams.set("from", event.lastEventId); // where another stream goes on
        append(event.data);
      });
      source.addEventListener("end", () => {
        over = true;
        source.close();
        // The page of the end has other buttons; who is typing loads it himself.
        if (document.activeElement instanceof HTMLInputElement) say("It has ended. Load the page again to see what can be done.");
        else window.setTimeout(() => window.location.reload(), 600);
      });
    }

    // A browser has six connections to one host, and each stream keeps one: a tab that nobody sees lets go of its own,
    // else the seventh would wait for ever, and every link in the others.
    function look() {
      if (over) return;
      if (source && document.hidden) {
        source.close();
        source = null;
        watched.rests();
      } else if (!source && !document.hidden) {
        listen();
      }
    }

    document.addEventListener("visibilitychange", look);
    look();
  }

  function append(lines) {
    if (!log || log.hasAttribute("data-still")) return;
    const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    for (const text of lines.split("\n")) {
      const line = document.createElement("li");
      line.textContent = text;
      log.append(line);
    }
    while (log.children.length > 2000) {
      log.firstElementChild.remove();
      cut = true;
    }
    find();
    if (low) log.scrollTop = log.scrollHeight;
  }

  for (const live of document.querySelectorAll("[data-events]")) follow(live);
  if (log && !log.hasAttribute("data-still")) log.scrollTop = log.scrollHeight;
  if (search) search.addEventListener("input", find);
  localTimes(document);

  if (navigator.clipboard && window.isSecureContext) {
    for (const code of document.querySelectorAll("code.command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet-button copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy ${code.textContent}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        window.setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.after(button);
    }
  }

  // What scrolls sideways can be reached with the keyboard.
  for (const table of document.querySelectorAll(".across, .table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  }

  // A second press of the same button is nobody's wish.
  document.addEventListener("submit", (event) => {
    if (event.target.method === "post") {
      for (const button of event.target.querySelectorAll("button[type=submit]")) {
        window.setTimeout(() => { button.disabled = true; }, 0);
      }
    }
  });
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form[method=post] button[type=submit]")) button.disabled = false;
  });
})();
