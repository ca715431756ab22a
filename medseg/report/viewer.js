"use strict";
// The scan view: NiiVue with one scan and its labels, opened by the buttons of the table.
(() => {
  const dialog = document.getElementById("viewer");
  const part = (name) => document.getElementById(`viewer-${name}`);
  const labels = JSON.parse(dialog.dataset.labels);
  const notes = JSON.parse(dialog.dataset.notes);
  const names = new Map(labels.map((label) => [label.number, label.name]));
  const hidden = new Set();
  const [AXIAL, CORONAL, SAGITTAL, MANY, RENDER] = [0, 1, 2, 3, 4];  // NiiVue's numbers
  const PRESETS = [["soft tissue", -160, 240], ["lung", -1350, 150], ["bone", -500, 1300], ["brain", 0, 80]];
  const CROSSHAIR_MM = 0.5;
  const SURE = 230, UNSURE = 128;  // of 255: 0.9 and 0.5
  let viewer = null;
  let wanted = 0;
  let facts = null;
  let shownScan = "";

  function script(source) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = source;
      element.onload = () => { element.remove(); resolve(); };
      element.onerror = () => { element.remove(); reject(new Error(`${source} is missing beside this page`)); };
      document.head.append(element);
    });
  }

  async function volumes(scan, source) {
    const inline = [...document.querySelectorAll("script[data-volume]")].find((x) => x.dataset.volume === scan);
    if (inline) return JSON.parse(inline.textContent);
    let found = null;
    globalThis.medsegVolume = (parts) => { found = parts; };
    await script(source);
    if (!found) throw new Error(`${source} holds no volumes`);
    return found;
  }

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

  async function start() {
    if (viewer) return;
    if (!globalThis.loadNiivue) await script("report/niivue.js");
    const Niivue = globalThis.loadNiivue();
    viewer = new Niivue({
      logLevel: "error", isNearestInterpolation: true, isRadiologicalConvention: true, show3Dcrosshair: true,
      dragAndDropEnabled: false, crosshairWidth: CROSSHAIR_MM, crosshairWidthUnit: "mm", dragMode: 0, isCornerOrientationText: false,
    });
    await viewer.attachToCanvas(part("canvas"));
    viewer.addColormap("confidence", ramp());
    viewer.onLocationChange = (place) => tell(place.mm);
  }

  // One large plane, that of the slices, and beside or below it the other planes and 3-D: [left, top, width, height].
  function arrange() {
    const wanted = Number(document.querySelector("input[name=slices]:checked").value);
    if (wanted !== MANY) {
      viewer.clearCustomLayout();
      viewer.setSliceType(wanted);
      return;
    }
    const box = part("canvas").getBoundingClientRect();
    const hero = acquired();
    const others = [AXIAL, CORONAL, SAGITTAL].filter((plane) => plane !== hero);
    const places = box.width > box.height
      ? [[0, 0, 0.5, 1], [0.5, 0, 0.25, 0.5], [0.75, 0, 0.25, 0.5], [0.5, 0.5, 0.5, 0.5]]
      : [[0, 0, 1, 0.5], [0, 0.5, 0.5, 0.25], [0.5, 0.5, 0.5, 0.25], [0, 0.75, 1, 0.25]];
    viewer.setSliceType(MANY);
    viewer.setCustomLayout([hero, ...others, RENDER].map((sliceType, n) => ({ sliceType, position: places[n] })));
  }

  // The plane that thick slices lie in, else axial; columns of the affine are the axes of the scan.
  function acquired() {
    const columns = [0, 1, 2].map((n) => [0, 1, 2].map((row) => facts.affine[row][n]));
    const lengths = columns.map((column) => Math.hypot(...column));
    const thick = lengths.indexOf(Math.max(...lengths));
    if (lengths[thick] < 2 * [...lengths].sort((a, b) => a - b)[1]) return AXIAL;
    const sizes = columns[thick].map(Math.abs);
    return [SAGITTAL, CORONAL, AXIAL][sizes.indexOf(Math.max(...sizes))];
  }

  function setWindow(low, high) {
    const scan = viewer.volumes[0];
    [scan.cal_min, scan.cal_max] = [Math.min(low, high - 1e-6), high];
    viewer.updateGLVolume();
    part("window").textContent = `${short(low)} to ${short(high)}${facts.unit && ` ${facts.unit}`}`;
  }

  const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());

  function presets() {
    const list = facts.unit === "HU" ? PRESETS : [];
    part("presets").replaceChildren(...[["as labelled", ...facts.window], ...list].map(([text, low, high]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => setWindow(low, high));
      return button;
    }));
  }

  // Dragging with the right button, or with shift, changes the window: sideways its width, up and down its middle.
  function dragWindow(event) {
    if (!viewer?.volumes.length || !(event.button === 2 || event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    const scan = viewer.volumes[0];
    const [low, high, x, y] = [scan.cal_min, scan.cal_max, event.clientX, event.clientY];
    const each = (facts.window[1] - facts.window[0]) / 250;
    const move = (at) => {
      const half = Math.max((high - low) / 2 + each * (at.clientX - x), each);
      const middle = (low + high) / 2 + each * (at.clientY - y);
      setWindow(middle - half, middle + half);
    };
    const end = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", end); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
  }

  function paint() {
    // Alone in 3-D, labels are seen without the scan, which would hide all but the outermost.
    const alone = document.querySelector("input[name=slices]:checked").value === String(RENDER) && part("labels").checked;
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: ["background"] };
    for (const label of labels) {
      map.R.push(label.color[0]); map.G.push(label.color[1]); map.B.push(label.color[2]);
      map.A.push(hidden.has(label.number) ? 0 : 255); map.I.push(label.number); map.labels.push(label.name);
    }
    viewer.volumes[1].setColormapLabel(map);
    const opacity = Number(part("opacity").value);
    if (viewer.volumes.length > 2) viewer.setOpacity(2, part("confidence").checked ? opacity : 0);
    viewer.setOpacity(1, part("labels").checked ? opacity : 0);
    viewer.setOpacity(0, alone ? 0 : 1);
  }

  // Doubts in the colours that the page names, from 0.9 to 0.5 and less; what is surer, or has no label, is not drawn.
  function ramp() {
    const colors = JSON.parse(dialog.dataset.confidence).reverse();
    const every = (SURE - UNSURE) / (colors.length - 1);
    const I = [0, 1, ...colors.map((_, place) => Math.round(UNSURE + place * every)), SURE + 1, 255];
    const last = colors[colors.length - 1];
    const channel = (n) => [colors[0][n], colors[0][n], ...colors.map((color) => color[n]), last[n], last[n]];
    const A = I.map((value) => (value && value <= SURE ? 255 : 0));
    return { R: channel(0), G: channel(1), B: channel(2), A, I, min: 0, max: 255 };
  }

  async function addConfidence(content) {
    part("sure").hidden = !content;
    if (!content) return;
    await viewer.loadFromArrayBuffer(bytes(content), "confidence.nii.gz");
    viewer.volumes[2].setColormap("confidence");
  }

  function valueAt(place, mm) {
    const overlay = viewer?.volumes[place];
    if (!overlay) return null;
    const voxel = overlay.mm2vox([mm[0], mm[1], mm[2]]);
    return overlay.getValue(voxel[0], voxel[1], voxel[2]);
  }

  function tell(mm) {
    const number = valueAt(1, mm);
    if (number === null || !facts) return;
    const ends = [["R", "L"], ["A", "P"], ["S", "I"]];
    const place = ends.map(([up, down], n) => `${mm[n] < 0 ? down : up} ${Math.abs(mm[n]).toFixed(0)}`).join(", ");
    const sure = number ? valueAt(2, mm) : null;
    const said = sure ? `, probability ${(sure / 255).toFixed(2)}` : "";
    const value = `${short(valueAt(0, mm))}${facts.unit && ` ${facts.unit}`}`;
    const name = number ? `${number} ${names.get(number) ?? "label"}` : "no label";
    part("label").textContent = `${name}${said}: intensity ${value}; ${place} mm; voxel ${voxelAt(mm).join(", ")} of ${facts.shape.join(" x ")}`;
  }

  // The voxel of the scan itself at a place in mm, counted from 1.
  function voxelAt(mm) {
    const [a, b, c] = facts.affine;
    const from = [mm[0] - a[3], mm[1] - b[3], mm[2] - c[3]];
    const det = (x, y, z) => x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0]) + x[2] * (y[0] * z[1] - y[1] * z[0]);
    const rows = [a, b, c].map((row) => row.slice(0, 3));
    return [0, 1, 2].map((n) => {
      const changed = rows.map((row, r) => row.map((value, column) => (column === n ? from[r] : value)));
      return Math.min(Math.max(Math.round(det(...changed) / det(...rows)) + 1, 1), facts.shape[n]);
    });
  }

  function hover(event) {
    if (!viewer || viewer.volumes.length < 2) return;
    const box = part("canvas").getBoundingClientRect();
    const dpr = viewer.uiData.dpr ?? 1;
    const found = viewer.canvasPos2frac([(event.clientX - box.left) * dpr, (event.clientY - box.top) * dpr]);
    if (found[0] >= 0) tell(viewer.frac2mm(found));
  }

  function legend() {
    part("legend").replaceChildren(...labels.map((label) => {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(label.number);
      box.addEventListener("change", () => {
        hidden[box.checked ? "delete" : "add"](label.number);
        if (viewer?.volumes.length > 1) paint();
      });
      const color = document.createElement("span");
      color.className = "color";
      color.style.background = `rgb(${label.color.join(",")})`;
      const text = document.createElement("label");
      text.append(box, color, `${label.number} ${label.name}`);
      return text;
    }));
  }

  async function open(scan, source) {
    const turn = ++wanted;
    dialog.dataset.state = "loading";
    part("title").textContent = shownScan = scan;
    document.querySelector(`input[name=rating][value="${ratings.get(scan)?.querySelector("select").value ?? ""}"]`).checked = true;
    part("note").value = ratings.get(scan)?.dataset.note ?? "";
    part("label").textContent = "loading";
    part("notes").replaceChildren(...(notes[scan] ?? []).map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    if (!dialog.open) dialog.showModal();
    try {
      const found = await volumes(scan, source);
      await start();
      if (turn !== wanted) return;
      facts = found.facts;
      while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
      await viewer.loadFromArrayBuffer(bytes(found.image), "scan.nii.gz");
      await viewer.loadFromArrayBuffer(bytes(found.labels), "labels.nii.gz");
      await addConfidence(found.confidence);
      presets();
      setWindow(...facts.window);
      arrange();
      paint();
      part("label").textContent = "Move over the scan to see what a label is called; drag with the right button, or with shift, to change the window.";
      dialog.dataset.state = "shown";
    } catch (error) {
      part("label").textContent = `The scan cannot be shown: ${error.message}`;
      dialog.dataset.state = "failed";
    }
  }

  // The scans in the order in which the table shows them now.
  function step(by) {
    const buttons = [...document.querySelectorAll("button.view")];
    const place = buttons.findIndex((button) => button.dataset.scan === shownScan);
    const next = buttons[(place + by + buttons.length) % buttons.length];
    open(next.dataset.scan, next.dataset.source);
  }

  legend();
  for (const button of document.querySelectorAll("button.view")) {
    button.addEventListener("click", () => open(button.dataset.scan, button.dataset.source));
  }
  const rated = () => rate(shownScan, document.querySelector("input[name=rating]:checked").value, part("note").value);
  for (const choice of document.querySelectorAll("input[name=rating]")) choice.addEventListener("change", rated);
  part("note").addEventListener("input", rated);
  part("previous").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.target.type === "text") return;
    const isArrow = ["ArrowLeft", "ArrowRight"].includes(event.key) && !/^(radio|range)$/.test(event.target.type);
    if (!isArrow && !["1", "2", "3"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (isArrow) {
      step(event.key === "ArrowRight" ? 1 : -1);
    } else if (event.key === "3") {
      part("note").focus();
    } else {
      document.querySelector(`input[name=rating][value=${event.key === "1" ? "pass" : "exclude"}]`).click();
    }
  }, true);
  part("canvas").addEventListener("pointerdown", dragWindow, true);
  part("canvas").addEventListener("mousedown", (event) => { if (event.button === 2 || event.shiftKey) event.stopImmediatePropagation(); }, true);
  part("canvas").addEventListener("contextmenu", (event) => event.preventDefault());
  part("crosshair").addEventListener("change", () => viewer?.setCrosshairWidth(part("crosshair").checked ? CROSSHAIR_MM : 0));
  new ResizeObserver(() => viewer?.volumes.length > 1 && facts && arrange()).observe(part("canvas"));
  part("close").addEventListener("click", () => dialog.close());
  part("canvas").addEventListener("mousemove", hover);
  part("labels").addEventListener("change", () => viewer?.volumes.length > 1 && paint());
  part("confidence").addEventListener("change", () => {
    part("labels").checked = !part("confidence").checked;  // two colours over each other say neither
    if (viewer?.volumes.length > 1) paint();
  });
  part("opacity").addEventListener("input", () => viewer?.volumes.length > 1 && paint());
  for (const choice of document.querySelectorAll("input[name=slices]")) {
    choice.addEventListener("change", () => {
      if (!(viewer?.volumes.length > 1)) return;
      arrange();
      paint();
    });
  }
})();
