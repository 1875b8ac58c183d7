// Keeps the page as things are: asks for it again, waits for a change, and puts in what is new. It loads nothing else.
"use strict";

const PAUSE_MS = 2000, MOST_NEWS = 3;
let tag = "";

function byId(id) { return document.getElementById(id); }

// Takes over what a person has opened, so that it does not close under their eyes.
function keepOpen(old, fresh) {
  for (const each of fresh.querySelectorAll("details[id]")) {
    const before = byId(each.id);
    if (before && old.contains(before) && before.open) each.open = true;
  }
}

function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceWith(fresh);
  if (focused && byId(focused)) byId(focused).focus({preventScroll: true});
}

function updateList(old, fresh) {
  const known = new Map([...old.children].map((each) => [each.id, each]));
  let place = old.firstElementChild;
  for (const each of [...fresh.children]) {
    let mine = known.get(each.id);
    if (!mine) {
      note(null, each);
      old.insertBefore(each, place);
      continue;
    }
    known.delete(each.id);
    keepOpen(mine, each);
    each.hidden = mine.hidden;
    if (mine.outerHTML !== each.outerHTML) {
      note(mine, each);
      if (mine === place) place = each;
      replace(mine, each);
      mine = each;
    }
    if (mine === place) place = mine.nextElementSibling;
    else old.insertBefore(mine, place);
  }
  for (const each of known.values()) each.remove();
}

let news = [];

function note(old, fresh) {
  const {key, says} = fresh.dataset;
  const isNew = (text) => !text || text.replace(/\d+/g, "") !== says.replace(/\d+/g, "");  // a count of seconds is no news
  if (key && says && isNew(old && old.dataset.says)) news.push(key + ": " + says);
}

function tellNews() {
  if (!news.length) return;
  const more = news.length > MOST_NEWS ? " and " + (news.length - MOST_NEWS) + " more changes" : "";
  byId("news").textContent = news.slice(0, MOST_NEWS).join(". ") + more;
  news = [];
}

function update(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (!fresh.getElementById("main")) return;
  if (fresh.querySelector("main h1")?.textContent !== document.querySelector("main h1")?.textContent
      || fresh.querySelectorAll("[data-list]").length !== document.querySelectorAll("[data-list]").length) {
    replace(byId("main"), document.adoptNode(fresh.getElementById("main")));
  }
  for (const old of document.querySelectorAll("[data-list]")) {
    const each = fresh.getElementById(old.id);
    if (each) updateList(old, each);
  }
  for (const old of document.querySelectorAll("[data-part]")) {
    const each = fresh.getElementById(old.id);
    if (each && each.outerHTML !== old.outerHTML) {
      note(old, each);
      replace(old, each);
    }
  }
  filter();
  tellNews();
}

function filter() {
  const tools = byId("tools");
  if (!tools) return;
  const wanted = byId("filter").value.trim().toLowerCase(), unwell = byId("unwell").checked;
  const rows = [...byId("services").children];
  let shown = 0;
  for (const row of rows) {
    const words = [row.dataset.key, row.dataset.says, row.querySelector(".code").textContent].join(" ").toLowerCase();
    const fits = words.includes(wanted) && !(unwell && row.dataset.severity === "well");
    row.hidden = !fits;
    shown += fits;
  }
  const text = shown === rows.length ? "" : shown + " of " + rows.length + " shown";
  if (byId("shown").textContent !== text) byId("shown").textContent = text;
}

function tellOffline(text) {
  byId("offline").hidden = !text;
  if (byId("offline").textContent !== text) byId("offline").textContent = text;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const visible = () => new Promise((done) => {
  if (!document.hidden) return done();
  document.addEventListener("visibilitychange", () => visible().then(done), {once: true});
});

async function follow() {
  for (;;) {
    await visible();
    try {
      const headers = tag ? {"Prefer": "wait=25", "If-None-Match": tag} : {};
      const answer = await fetch(location.pathname, {headers, cache: "no-store"});
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        update(await answer.text());
      } else if (answer.status === 404) {
        update(await answer.text());
        await pause(PAUSE_MS);
      } else if (answer.status !== 304) {
        throw new Error((await answer.text()).slice(0, 300));
      }
      tellOffline("");
    } catch (error) {
      tag = "";
      tellOffline("Not of now: lictor-serve does not answer, or not with the page (" + error.message + ").");
      await pause(PAUSE_MS);
    }
  }
}

const tools = byId("tools");
if (tools) {
  tools.hidden = false;
  tools.addEventListener("input", filter);
}
follow();
