"use strict";
// The scan view: NiiVue with one scan and its labels, opened by the buttons of the table.
(() => {
  const dialog = document.getElementById("viewer");
  const part = (name) => document.getElementById(`viewer-${name}`);
  const labels = JSON.parse(dialog.dataset.labels);
  const notes = JSON.parse(dialog.dataset.notes);
  const names = new Map(labels.map((label) => [label.number, label.name]));
  const hidden = new Set();
  const SURE = 230, UNSURE = 128;  // of 255: 0.9 and 0.5
  let viewer = null;
  let wanted = 0;

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
      multiplanarShowRender: 1, multiplanarLayout: 2, dragAndDropEnabled: false, crosshairWidth: 1, crosshairWidthUnit: "mm",
    });
    await viewer.attachToCanvas(part("canvas"));
    viewer.addColormap("confidence", ramp());
    viewer.onLocationChange = (place) => tell(place.mm);
  }

  function paint() {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: ["background"] };
    for (const label of labels) {
      map.R.push(label.color[0]); map.G.push(label.color[1]); map.B.push(label.color[2]);
      map.A.push(hidden.has(label.number) ? 0 : 255); map.I.push(label.number); map.labels.push(label.name);
    }
    viewer.volumes[1].setColormapLabel(map);
    const opacity = Number(part("opacity").value);
    if (viewer.volumes.length > 2) viewer.setOpacity(2, part("confidence").checked ? opacity : 0);
    viewer.setOpacity(1, part("labels").checked ? opacity : 0);
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
    if (number === null) return;
    const place = `right ${mm[0].toFixed(0)}, front ${mm[1].toFixed(0)}, up ${mm[2].toFixed(0)} mm`;
    const sure = number ? valueAt(2, mm) : null;
    const said = sure ? `, confidence ${(sure / 255).toFixed(2)}` : "";
    part("label").textContent = `${number ? `${number} ${names.get(number) ?? "label"}` : "no label"}: ${place}${said}`;
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
    part("title").textContent = scan;
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
      while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
      await viewer.loadFromArrayBuffer(bytes(found.image), "scan.nii.gz");
      await viewer.loadFromArrayBuffer(bytes(found.labels), "labels.nii.gz");
      await addConfidence(found.confidence);
      paint();
      viewer.setSliceType(Number(document.querySelector("input[name=slices]:checked").value));
      part("label").textContent = "Move over the scan to see what a label is called.";
      dialog.dataset.state = "shown";
    } catch (error) {
      part("label").textContent = `The scan cannot be shown: ${error.message}`;
      dialog.dataset.state = "failed";
    }
  }

  legend();
  for (const button of document.querySelectorAll("button.view")) {
    button.addEventListener("click", () => open(button.dataset.scan, button.dataset.source));
  }
  part("close").addEventListener("click", () => dialog.close());
  part("canvas").addEventListener("mousemove", hover);
  part("labels").addEventListener("change", () => viewer?.volumes.length > 1 && paint());
  part("confidence").addEventListener("change", () => {
    part("labels").checked = !part("confidence").checked;  // two colours over each other say neither
    if (viewer?.volumes.length > 1) paint();
  });
  part("opacity").addEventListener("input", () => viewer?.volumes.length > 1 && paint());
  for (const choice of document.querySelectorAll("input[name=slices]")) {
    choice.addEventListener("change", () => viewer?.setSliceType(Number(choice.value)));
  }
})();
