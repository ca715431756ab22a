// node browser_page.mjs PAGE FOLDER MODULES [open]: drives report.html in Chromium and prints one JSON object.
// MODULES is a node_modules folder with playwright-core and axe-core; CHROMIUM names the browser.
import { createRequire } from "node:module";
const [, , url, folder, modules, only] = process.argv;
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  "--ignore-gpu-blocklist", "--disable-background-networking", "--disable-component-update", "--no-first-run"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const found = { requests: [], errors: [], axe: {}, texts: {} };

async function page(width, height, colorScheme) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, acceptDownloads: true, bypassCSP: false });
  const tab = await context.newPage();
  tab.on("request", (r) => { if (!/^(data|blob|file):/.test(r.url())) found.requests.push(r.url().slice(0, 200)); });
  tab.on("console", (m) => { if (["error", "warning"].includes(m.type())) found.errors.push(m.text().slice(0, 300)); });
  tab.on("pageerror", (e) => found.errors.push(String(e).slice(0, 300)));
  return tab;
}

async function contrast(tab, name) {
  const session = await tab.context().newCDPSession(tab);
  const source = require("node:fs").readFileSync(axe, "utf8");
  await session.send("Runtime.evaluate", { expression: source });
  const answer = await session.send("Runtime.evaluate", {
    expression: "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations.map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 160), v.nodes[0].failureSummary])))",
    awaitPromise: true, returnByValue: true });
  found.axe[name] = JSON.parse(answer.result.value);
}

async function look(tab, scan) {
  await tab.locator(`button.view[data-scan="${scan}"]`).focus();
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => ["shown", "failed"].includes(document.getElementById("viewer").dataset.state), null, { timeout: 240000 });
  await tab.waitForTimeout(1500);
  return tab.evaluate(() => document.getElementById("viewer").dataset.state);
}

async function colored(tab) {
  // Share of clearly coloured pixels of the canvas, as it is on the screen.
  const shot = (await tab.locator("#viewer-canvas").screenshot()).toString("base64");
  return tab.evaluate(async (data) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    let n = 0;
    for (let p = 0; p < pixels.length; p += 4) {
      const [r, g, b] = [pixels[p], pixels[p + 1], pixels[p + 2]];
      n += Math.max(r, g, b) - Math.min(r, g, b) > 40;
    }
    return n / (pixels.length / 4);
  }, shot);
}

const tab = await page(1280, 900, "light");
const started = Date.now();
await tab.goto(url, { waitUntil: "load" });
found.open_ms = Date.now() - started;
found.overflow = {};
if (only !== "open") {
  found.overflow["1280"] = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await tab.screenshot({ path: `${folder}/light.png`, fullPage: true });
  await contrast(tab, "light");
  found.pictures = await tab.evaluate(async () => {
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await Promise.allSettled(images.map((image) => image.decode()));
    return { broken: images.filter((image) => !image.naturalWidth).length, examples: document.querySelectorAll("img.example").length };
  });
  const column = tab.locator("#scans thead th").filter({ hasText: "white matter" });
  const first = () => tab.locator("#scans tbody tr").first().locator("th").innerText();
  await column.locator("button").click();
  found.texts.ascending = await first();
  await column.locator("button").click();
  found.texts.descending = await first();
  found.texts.sorted = await column.getAttribute("aria-sort");
  if (await tab.locator("button.view").count()) {
    found.state = await look(tab, "scan001");
    await tab.screenshot({ path: `${folder}/viewer.png` });
    found.focus_inside = await tab.evaluate(() => document.getElementById("viewer").contains(document.activeElement));
    found.with_labels = await colored(tab);
    const box = await tab.locator("#viewer-canvas").boundingBox();
    const texts = new Set();
    for (let n = 1; n < 24; n++) {
      await tab.mouse.move(box.x + box.width * (0.02 * n), box.y + box.height * 0.4);
      await tab.waitForTimeout(60);
      texts.add((await tab.locator("#viewer-label").innerText()).split(/[,:]/)[0]);
    }
    found.texts.hover = [...texts];
    found.texts.told = await tab.locator("#viewer-label").innerText();
    found.texts.window = await tab.locator("#viewer-window").innerText();
    await tab.mouse.move(box.x + 200, box.y + 100);
    await tab.mouse.down({ button: "right" });
    await tab.mouse.move(box.x + 260, box.y + 100, { steps: 4 });
    await tab.mouse.up({ button: "right" });
    found.texts.wider = await tab.locator("#viewer-window").innerText();
    await tab.locator("#viewer-presets button").first().click();
    found.texts.window_again = await tab.locator("#viewer-window").innerText();
    await tab.locator("#viewer-canvas").focus();
    await tab.keyboard.press("ArrowRight");
    await tab.waitForFunction(() => document.getElementById("viewer-title").textContent !== "scan001");
    await tab.waitForFunction(() => document.getElementById("viewer").dataset.state === "shown", null, { timeout: 240000 });
    found.texts.next = await tab.locator("#viewer-title").innerText();
    await tab.locator("#viewer-previous").click();
    await tab.waitForTimeout(300);
    await tab.waitForFunction(() => document.getElementById("viewer").dataset.state === "shown", null, { timeout: 240000 });
    found.texts.previous = await tab.locator("#viewer-title").innerText();
    await tab.waitForTimeout(800);
    await tab.locator("#viewer-canvas").focus();
    await tab.keyboard.press("2");
    await tab.keyboard.press("3");
    await tab.keyboard.type('moved, "twice" in 1 2 3');
    await tab.locator("#viewer-labels").uncheck();
    await tab.waitForTimeout(800);
    found.without_labels = await colored(tab);
    found.texts.legend = await tab.locator("#viewer-sure").isVisible();
    if (found.texts.legend) {
      await tab.locator("#viewer-confidence").focus();
      found.confidence_at_first = await tab.locator("#viewer-confidence").isChecked();
      await tab.keyboard.press("Space");
      await tab.waitForTimeout(800);
      found.with_confidence = await colored(tab);
      found.labels_beside_confidence = await tab.locator("#viewer-labels").isChecked();
      await tab.mouse.move(box.x + box.width * 0.25, box.y + box.height * 0.4);
      await tab.waitForTimeout(60);
      found.texts.sure = await tab.locator("#viewer-label").innerText();
      await tab.screenshot({ path: `${folder}/confidence.png` });
      await contrast(tab, "confidence");
      await tab.keyboard.press("Space");
      await tab.waitForTimeout(800);
      found.after_confidence = await colored(tab);
    } else {
      await tab.locator("#viewer-labels").check();
    }
    await tab.locator("#viewer-legend input").first().uncheck();
    await tab.waitForTimeout(800);
    found.without_first = await colored(tab);
    await tab.locator("input[name=slices][value='4']").check();
    await tab.waitForTimeout(1500);
    await tab.screenshot({ path: `${folder}/render.png` });
    await contrast(tab, "viewer");
    await tab.keyboard.press("Escape");
    found.closed = await tab.evaluate(() => !document.getElementById("viewer").open);
  }
  const [ratings] = await Promise.all([tab.waitForEvent("download"), tab.locator("#save-ratings").click()]);
  await ratings.saveAs(`${folder}/${ratings.suggestedFilename()}`);
  if (await tab.locator("#naming").count()) {
    await tab.locator("#naming summary").click();
    await tab.locator('#naming input[data-field="name"]').nth(2).fill('bright "matter": \u00e9');
    await tab.locator('#naming input[data-field="color"]').nth(2).fill("#0a141e");
    const [download] = await Promise.all([tab.waitForEvent("download"), tab.locator("#naming button").click()]);
    found.saved_as = download.suggestedFilename();
    await download.saveAs(`${folder}/labels.yaml`);
    await contrast(tab, "naming");
  }
  for (const [name, width, scheme] of [["dark", 1280, "dark"], ["narrow", 390, "light"], ["narrow_dark", 390, "dark"]]) {
    const other = await page(width, 800, scheme);
    await other.goto(url, { waitUntil: "load" });
    found.overflow[name] = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await other.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    await contrast(other, name);
    if (name === "narrow_dark" && await other.locator("button.view").count()) {
      await look(other, "scan001");
      await other.screenshot({ path: `${folder}/narrow_viewer.png` });
      found.overflow.viewer = await other.evaluate(() => {
        const d = document.getElementById("viewer");
        return d.scrollWidth - d.clientWidth;
      });
      await contrast(other, "narrow_viewer");
    }
  }
}
console.log(JSON.stringify(found, null, 1));
await browser.close();
