"use strict";

// The page's script: sends pictures and inputs set by hand to the server, and shows its answers.
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const classes = JSON.parse(document.body.dataset.classes);
const maxUpload = Number(document.body.dataset.maxUpload);
const shown = Number(document.body.dataset.shown);

// Asks the server; throws an error with its words.
async function ask(path, body, headers) {
  let answer;
  try {
    answer = await fetch(path, {method: "POST", body, headers});
  } catch {
    throw new Error("the server does not answer; is the demo still running?");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const askJson = (path, value) => ask(path, JSON.stringify(value), {"Content-Type": "application/json"});

// Pictures -----------------------------------------------------------------------------------------------------------

let given = [];
let waiting = Promise.resolve();
let open = 0;

// One picture after the other: each takes all cores.
function classify(tasks) {
  open += tasks.length;
  tasks.forEach(([name, task], index) => {
    waiting = waiting.then(async () => {
      find("#answer").setAttribute("aria-busy", "true");
      let answer;
      try {
        answer = await task();
      } catch (error) {
        answer = {name, problem: error.message};
      }
      open -= 1;
      given.push(answer);
      addRow(answer);
      if (index === 0) show(answer);
      find("#answer").removeAttribute("aria-busy");
      find("#progress").textContent = open ? `${open} still to come` : "";
    });
  });
}

function take(files) {
  classify([...files].map((file) => [file.name, async () => {
    if (file.size > maxUpload) throw new Error(`it is larger than ${maxUpload / 2 ** 20} MB`);
    const name = encodeURIComponent(file.name.replace(/[\uD800-\uDFFF]/gu, "?"));
    return ask("picture", file, {"Content-Type": "application/octet-stream", "X-Name": name});
  }]));
}

function show(answer) {
  const place = find("#answer");
  if (answer.html) {
    // The server has escaped every name in it.
    place.innerHTML = answer.html;
  } else {
    const problem = document.createElement("p");
    problem.className = "problem";
    problem.textContent = `${answer.name}: ${answer.problem}`;
    place.replaceChildren(problem);
  }
  place.dataset.of = answer.name;
  find("#said").textContent = answer.problem ? `${answer.name} can't be read` :
    `${answer.name}: ${verdict(answer)}, ${percent(Math.max(...answer.probabilities))}${answer.unlike ? ", unlike the training pictures" : ""}`;
  for (const button of all("#all tbody button")) button.setAttribute("aria-pressed", String(button.answer === answer));
  if (answer.inputs && sliders.length) {
    own = answer.inputs;
    find("#own").disabled = false;
    set(own);
  }
  const top = place.getBoundingClientRect().top;
  if (top < 0 || top > window.innerHeight / 2) place.scrollIntoView();
}

const verdict = (answer) => (answer.sure ? answer.label : `not sure (${answer.label})`);

function addRow(answer) {
  const row = find("#all tbody").insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  const button = document.createElement("button");
  button.type = "button";
  button.answer = answer;
  if (answer.crop) {
    const picture = document.createElement("img");
    picture.src = answer.crop;
    picture.alt = "";
    button.append(picture);
  }
  button.append(answer.name);
  button.addEventListener("click", () => show(answer));
  head.append(button);
  row.append(head);
  const cells = answer.problem ? ["", "", `can't be read: ${answer.problem}`] : [
    answer.label, percent(Math.max(...answer.probabilities)),
    [answer.sure ? "" : "not sure", answer.unlike ? "unlike the training pictures" : ""].filter(Boolean).join(", "),
  ];
  cells.forEach((text, index) => {
    const cell = row.insertCell();
    cell.textContent = text;
    if (index === 1) cell.className = "number";
  });
  find("#all").hidden = given.length < 2;
}

function csv() {
  const lines = [["image", "class", ...classes, "not sure", "unlike", "problem"]];
  for (const answer of given) {
    const yes = (value) => (value === null ? "" : value ? "yes" : "no");
    lines.push(answer.problem ? [answer.name, ...classes.map(() => ""), "", "", "", answer.problem] :
      [answer.name, answer.label, ...answer.probabilities.map((share) => share.toFixed(6)), yes(!answer.sure), yes(answer.unlike), ""]);
  }
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
}

find("#files").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
for (const button of all("#examples button")) {
  button.addEventListener("click", () => classify([[button.textContent, () => askJson("example", {chosen: Number(button.value)})]]));
}
find("#download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], {type: "text/csv"}));
  link.download = "classes.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
find("#forget").addEventListener("click", () => {
  given = [];
  find("#all tbody").replaceChildren();
  find("#all").hidden = true;
  find("#answer").focus();
});

// Angles by hand -----------------------------------------------------------------------------------------------------

const sliders = all("#by-hand input");
let own = [];
let turning = false;
let again = false;

// At most one question is under way; the newest position is asked for next.
async function turn() {
  again = true;
  if (turning) return;
  turning = true;
  while (again) {
    again = false;
    try {
      draw(await askJson("angles", {inputs: sliders.map((slider) => Number(slider.value))}));
      find("#hand-problem").hidden = true;
    } catch (error) {
      find("#hand-problem").textContent = error.message;
      find("#hand-problem").hidden = false;
    }
  }
  turning = false;
}

function draw({outputs, probabilities}) {
  const bar = (row, low, high, text) => {
    const fill = find(".fill", row);
    fill.setAttribute("x", `${100 * low}%`);
    fill.setAttribute("width", `${100 * (high - low)}%`);
    find(".value", row).textContent = text;
  };
  all("#by-hand .wires tbody tr").forEach((row, index) => {
    const at = Math.min(Math.max(0.5 + outputs[index] / 2, 0), 1);
    bar(row, Math.min(at, 0.5), Math.max(at, 0.5), signed(outputs[index], 4));
  });
  const best = [...probabilities].sort((one, other) => other - one)[shown - 1] ?? 0;
  all("#by-hand .probabilities tbody tr").forEach((row, index) => {
    row.hidden = probabilities[index] < best;
    bar(row, 0, probabilities[index], percent(probabilities[index]));
  });
}

function set(values) {
  sliders.forEach((slider, index) => {
    slider.value = values[index];
    tell(slider);
  });
  turn();
}

function tell(slider) {
  find(`output[for="${slider.id}"]`).textContent = signed(Number(slider.value), 2);
}

if (sliders.length) {
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      tell(slider);
      turn();
    });
  }
  find("#own").addEventListener("click", () => set(own));
  find("#zero").addEventListener("click", () => set(sliders.map(() => 0)));
  set(sliders.map(() => 0));
}
