// Finds places of the book: in the list that search.py has written, with MiniSearch, as one types.
weightdecay.bring("search", (() => {
  const STOP = new Set(("a actually added adding after all also always am an and any anyone are as at be been but by can cannot could " +
    "did different do does even for from get got had has have having help here how i if in is it its just let like " +
    "me means much my need needed needs of on one or our please purpose really should so some someone something " +
    "specific such than that the their them then there these thing this those to too use using very vs want was way " +
    "we were what when where which who why will with work working works would you your").split(" "));
  // What is the same word, and what is the same in several.
  const SAME = { λ: "lambda", η: "eta", τ: "tau", μ: "mu", ρ: "rho", frozen: "freeze", exclusion: "exclude", exclusions: "exclude", cost: "loss" };
  for (const word of "big bigger greater high higher huge larger strong stronger".split(" ")) SAME[word] = "large";
  for (const word of "little low lower smaller tiny weak weaker".split(" ")) SAME[word] = "small";
  const PHRASES = [[/weight_?decay|\bwd\b/g, "weight decay"], [/\blr\b/g, "learning rate"], [/batch[ -]?norm(?:ali[sz]ation)?\b|\bbn\b/g, "batchnorm"],
    [/layer[ _-]?norm(?:ali[sz]ation)?\b/g, "layernorm"], [/hyper[ -]param/g, "hyperparam"], [/fine[ -]tun/g, "finetun"]];
  // Questions first among what fits alike; then what has a name. A page for teachers repeats what the chapters say.
  const KINDS = { q: 1.6, c: 1.3, s: 1.2, t: 1.1, d: 0.9, x: 0.8, p: 0.8 };
  const NAMES = { q: "question", c: "page", s: "section", t: "term", d: "demo", x: "exercise", p: "" };
  const PAGES = { "book/classroom.html": 0.4, "book/hub.html": 0.5, "book/reproduction.html": 0.7 };

  // A word without its ending, and in one spelling: what is alike for who searches.
  const stems = new Map();
  const stem = (word) => {
    if (!stems.has(word)) stems.set(word, bare(word));
    return stems.get(word);
  };
  const bare = (word) => {
    word = SAME[word] ?? word.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
    word = word.replace(/(?:ies|y)$/, "i").replace(/our(?=s?$|i)/, "or");
    const short = word.replace(/i[sz](?:e|ed|es|er|ers|ing|ation|ations)$/, "iz").replace(/ations?$/, "ate").replace(/([^su])s$/, "$1")
      .replace(/(?:ing|ed|e)$/, "");
    return short.length > 2 ? short : word;
  };
  // Chinese has no spaces: every two signs are a word. What holds together by _ or - is one word and several, and numbers
  // are whole.
  const WORD = /\d+(?:\.\d+)?(?:e[-−]?\d+)?(?![a-z\d])|\p{Script=Han}+|(?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+(?:[_-](?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+)*/gu;
  const split = (text) => {
    const words = [];
    const plain = PHRASES.reduce((before, [phrase, word]) => before.replace(phrase, word), text.toLowerCase());
    for (const one of plain.match(WORD) ?? []) {
      const parts = /^\d/.test(one) ? [one] : one.split(/[_-]/);
      if (/\p{Script=Han}/u.test(one)) for (let i = 0; i < Math.max(1, one.length - 1); i += 1) words.push(one.slice(i, i + 2));
      else words.push(...parts, ...(parts.length > 1 ? [parts.join("")] : []));
    }
    return words;
  };
  const asked = (text) => {
    const words = split(text);
    const telling = words.filter((word) => !STOP.has(word));
    return telling.length ? telling : words;
  };

  const makeIndex = (pages, MiniSearch) => {
    const places = [];
    for (const { page, title, places: all } of pages) {
      let own;
      for (const [kind, anchor, name, text, words] of all) {
        const named = { of: anchor, title: name };
        if ("csqx".includes(kind)) own = named;
        const weight = KINDS[kind] * (PAGES[page] ?? 1);
        const heading = asked(name).map(stem);
        const calls = words && [...new Set(split(words).map(stem))].join(" "); // a word counts once
        const place = { id: places.length, page, kind, at: anchor, chapter: title, name, text, words: calls, weight, heading };
        places.push({ ...place, ...(kind === "p" ? own : named) });
      }
    }
    const index = new MiniSearch({
      fields: ["name", "words", "title", "chapter", "text"],
      tokenize: split,
      processTerm: (word) => stem(word),
    });
    // What has a name can be found at once; a phone takes its time over all the paragraphs.
    const named = places.filter(({ kind }) => kind !== "p");
    index.addAll(named);
    const many = new Map();
    for (const { name, words, text } of named) {
      for (const word of new Set(split(`${name} ${words} ${text}`).map(stem))) many.set(word, 1 + (many.get(word) ?? 0));
    }
    const rarity = (word) => Math.log(1 + named.length / (1 + (many.get(word) ?? 0)));
    const ready = index.addAllAsync(places.filter(({ kind }) => kind === "p"), { chunkSize: 100 });
    return { index, places, rarity, ready };
  };

  // Makes what gives the places for what is typed: the best first, one of each section.
  const finder = (pages, MiniSearch) => {
    const { index, places, rarity, ready } = makeIndex(pages, MiniSearch);
    const find = (text, least = 5, most = 20) => {
      const words = [...new Set(asked(text).map(stem))];
      const worth = (some) => some.reduce((sum, word) => sum + rarity(word), 0);
      const hits = index.search(words.join(" "), {
        tokenize: (query) => query.split(" ").filter(Boolean),
        processTerm: (word) => word,
        boost: { name: 2, words: 3, title: 1, chapter: 0.5, text: 1 },
        prefix: (word, i, all) => word.length > (i === all.length - 1 ? 1 : 2),
        fuzzy: (word) => (word.length > 4 && !/\d/.test(word) ? 0.2 : false),
        weights: { fuzzy: 0.3, prefix: 0.5 },
        boostDocument: (id) => places[id].weight,
        boostTerm: rarity,
      });
      const found = new Map();
      for (const hit of hits) {
        const place = places[hit.id];
        // Better is what has all the words, and whose heading has few others.
        const told = place.heading.filter((word) => hit.terms.includes(word)).length / Math.max(1, place.heading.length);
        const score = hit.score * (worth(hit.queryTerms) / worth(words)) * (1 + told);
        const key = `${place.page}#${place.of}`;
        if (!(found.get(key)?.score >= score)) found.set(key, { ...place, score, terms: hit.terms, sought: hit.queryTerms });
      }
      const best = [...found.values()].sort((one, other) => other.score - one.score);
      return best.filter(({ score }, i) => i < least || score > best[0].score / 8).slice(0, most);
    };
    return { find, ready };
  };

  const element = (kind, attributes, ...children) => {
    const made = Object.assign(document.createElement(kind), attributes);
    made.append(...children);
    return made;
  };
  // What to show of a text, with the words that were found marked: its beginning, which answers; or, where more of the sought
  // words that the title lacks stand further on, its first sentence and what begins with a later one, or within one.
  const snippet = ({ text, title, terms, sought }, most = 220) => {
    const words = [...text.matchAll(/[\p{L}\p{N}\p{M}]+/gu)].map(({ 0: word, index }) => ({ word, index, as: stem(word.toLowerCase()) }));
    const told = asked(title).map(stem);
    const telling = words.filter(({ as }) => sought.includes(as) && !told.includes(as));
    const shown = (from) => new Set(telling.filter(({ index }) => index >= from && index < from + most - 50).map(({ as }) => as)).size;
    const starts = (after) => [...text.matchAll(after)].map(({ 0: before, index }) => index + before.length);
    const best = [0, ...starts(/[.?!] /g), ...starts(/[,;:] /g)].reduce((one, other) => (shown(other) > shown(one) ? other : one));
    const first = text.search(/[.?!] /) + 1;
    const lead = best && first < most / 2 ? first : 0;
    const from = best === lead + 1 ? 0 : best;
    const end = from + most - lead;
    const marked = (start, stop = text.length) => {
      const pieces = [];
      for (const { word, index, as } of words) {
        if (index < start || index + word.length > stop || !terms.includes(as)) continue;
        pieces.push(text.slice(start, index), element("mark", { textContent: word }));
        start = index + word.length;
      }
      return [...pieces, text.slice(start, stop)];
    };
    const before = from ? [...marked(0, lead), " … "] : [];
    return [...before, ...(end < text.length ? [...marked(from, text.lastIndexOf(" ", end)), " …"] : marked(from))];
  };

  // A field, what it found as links, and how many they are; the arrow keys go from link to link. fetched: a promise of the
  // list of places.
  const build = (fetched, root) => {
    const field = element("input", { name: "q", placeholder: "Search the book", autocomplete: "off", enterKeyHint: "search" });
    field.setAttribute("aria-label", "Search the book");
    const form = element("form", { action: `${root}search.html`, className: "wd-ask" }, field);
    const list = element("ol", { className: "wd-hits" });
    list.setAttribute("aria-busy", "true"); // until the paragraphs are read
    const status = element("p", { className: "wd-count", textContent: "Fetching the list of places …" });
    status.setAttribute("role", "status");
    let find;
    const show = (hit) => {
      const kind = NAMES[hit.kind];
      const where = hit.kind === "c" ? kind : [hit.chapter, kind].filter(Boolean).join(" · ");
      return element("li", {}, element("a", { href: `${root}${hit.page}${hit.at && "#"}${hit.at}` },
        element("span", { className: "wd-hit-page", textContent: where }),
        element("span", { className: "wd-hit-title", textContent: hit.title }),
        element("span", { className: "wd-hit-text" }, ...snippet(hit))));
    };
    const draw = () => {
      if (!find || list.contains(document.activeElement)) return;
      const hits = find(field.value);
      list.replaceChildren(...hits.map(show));
      const none = field.value.trim() ? "Nothing found. Try another word." : "";
      status.textContent = hits.length ? `${hits.length} place${hits.length === 1 ? "" : "s"}` : none;
    };
    fetched.then((pages) => {
      const index = finder(pages, window.MiniSearch);
      find = index.find;
      draw();
      return index.ready;
    }).then(() => {
      list.setAttribute("aria-busy", "false");
      draw();
    }, () => { status.textContent = "The list of places could not be fetched."; });
    field.addEventListener("input", draw);
    const move = (event) => {
      const links = [...list.querySelectorAll("a")];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !links.length) return;
      event.preventDefault();
      const next = links.indexOf(document.activeElement) + step;
      (links[Math.min(next, links.length - 1)] ?? field).focus();
    };
    return { form, field, list, status, draw, move };
  };

  // On its own page, or over any other; gives what shows the places for a text.
  const start = (fetched, root, page) => {
    const { form, field, list, status, draw, move } = build(fetched, root);
    const box = page ?? element("dialog", { className: "wd-find" });
    box.append(form, status, list);
    box.addEventListener("keydown", move);
    const show = (text) => {
      if (!page && !box.open) box.showModal();
      field.focus();
      if (text) field.value = text;
      draw();
    };
    if (page) {
      show(new URLSearchParams(location.search).get("q"));
      return show;
    }
    box.setAttribute("aria-label", "Search the book");
    const close = element("button", { type: "button", className: "wd-close", textContent: "Close" });
    form.append(close);
    close.addEventListener("click", () => box.close());
    box.addEventListener("click", ({ target }) => (target === box || target.closest("a")) && box.close());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      list.querySelector("a")?.click();
    });
    document.body.append(box);
    return show;
  };

  return { finder, start };
})());
