// Shows the CT, its labels and their surfaces, which are embedded in this page, with NiiVue, which is embedded, too.
// Everything is in mm to the patient's right, front and head (RAS), as NIfTI counts.

const settings = JSON.parse(document.getElementById("settings").textContent);
const PLANES = {
  axial: { type: 0, axis: 2 },
  coronal: { type: 1, axis: 1 },
  sagittal: { type: 2, axis: 0 },
};
const LETTERS = ["LR", "PA", "IS"];
const PHONE = matchMedia("(max-width: 70rem)");
// Slices that Page Up and Page Down pass, and pixels of a trackpad's scrolling that pass one.
const PAGE = 10;
const WHEEL = 40;

const state = document.getElementById("state");
const panes = document.getElementById("panes");
const byPlane = Object.fromEntries([...panes.querySelectorAll(".pane")].map((pane) => [pane.dataset.plane, pane]));

let slices, solid, ct, labels;
// The labels as they are embedded; those of NiiVue are what is switched on.
let found;
let isOutlined = false;
let tool = "point";
let range = { level: 40, width: 400 };
const shown = Object.fromEntries(settings.structures.map(({ name }) => [name, true]));
const meshes = {};
const point = [...settings.start];

// A view that has changed is drawn once per frame, however often it changes.
const waiting = new Set();
function soon(draw) {
  if (!waiting.size) requestAnimationFrame(drawAll);
  waiting.add(draw);
}
function drawAll() {
  const now = [...waiting];
  waiting.clear();
  for (const draw of now) draw();
}

// ---------------------------------------------------------------------------------------------------------------------
// Embedded data

async function embedded(name) {
  const element = document.getElementById(`data-${name}`);
  const text = atob(element.textContent);
  element.remove();
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).blob();
}

async function start() {
  const missing = [];
  if (!document.createElement("canvas").getContext("webgl2")) missing.push("WebGL 2");
  if (typeof DecompressionStream === "undefined") missing.push("DecompressionStream");
  if (missing.length) {
    const text = `This browser lacks ${missing.join(" and ")}, so no images can be shown. `;
    return say(`${text}Open the page in a current Chrome, Edge, Firefox or Safari with graphics acceleration on.`);
  }
  try {
    await show();
  } catch (error) {
    console.error(error);
    return say(`The images cannot be shown: ${error.message}`);
  }
  state.hidden = true;
}

function say(text) {
  state.textContent = text;
  state.dataset.failed = "";
}

async function show() {
  const code = await embedded("viewer");
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { Niivue, NVImage, NVMesh } = await import(address);
  URL.revokeObjectURL(address);

  const common = { logLevel: "error", dragAndDropEnabled: false, interactive: false, crosshairColor: [1, 0.45, 0.1, 0.85] };
  slices = new Niivue({
    ...common,
    sliceType: 3,
    multiplanarShowRender: 0,
    isRadiologicalConvention: true,
    sagittalNoseLeft: true,
    isSliceMM: true,
    isOrientationTextVisible: false,
    crosshairGap: 8,
    loadingText: "",
  });
  solid = new Niivue({ ...common, sliceType: 4, backColor: [0.933, 0.949, 0.961, 1], isOrientCube: true, show3Dcrosshair: true, crosshairWidth: 0.5, loadingText: "" });
  await slices.attachToCanvas(document.getElementById("slices"));
  await solid.attachToCanvas(document.getElementById("solid"));

  ct = await NVImage.loadFromFile({ file: new File([await embedded("ct")], "ct.nii"), colormap: "gray" });
  labels = await NVImage.loadFromFile({ file: new File([await embedded("labels")], "labels.nii") });
  [ct.cal_min, ct.cal_max] = ends();
  slices.addVolume(ct);
  found = labels.img.slice();
  labels.setColormapLabel(labelColors());
  labels.opacity = document.getElementById("opacity").value / 100;
  slices.addVolume(labels);

  const number = (kind) => solid.setCustomMeshShader(SHADERS[kind], kind);
  const shaders = { opaque: number("opaque"), glass: number("glass") };
  for (const { name, color, opacity } of settings.surfaces) {
    const file = new File([await embedded(name)], `${name}.mz3`);
    const options = { file, gl: solid.gl, name: `${name}.mz3`, opacity, rgba255: [...color, 255], visible: true };
    meshes[name] = await NVMesh.loadFromFile(options);
    solid.addMesh(meshes[name]);
    solid.setMeshShader(meshes[name].id, shaders[opacity < 1 ? "glass" : "opaque"]);
  }
  solid.scene.volScaleMultiplier = 1.25;
  solid.setRenderAzimuthElevation(180, 10);
  arrange(PHONE.matches ? "axial" : "all");
  connect();
  moveTo(point);
}

// ---------------------------------------------------------------------------------------------------------------------
// Structures, window and layout

function labelColors() {
  const column = (channel) => [0, ...settings.structures.map(({ color }) => color[channel])];
  const values = settings.structures.map(({ value }) => value);
  const names = settings.structures.map(({ name }) => name);
  const alpha = [0, ...values.map(() => 255)];
  return { R: column(0), G: column(1), B: column(2), A: alpha, I: [0, ...values], labels: ["", ...names] };
}

// Writes the labels that are switched on, all of them or those at an edge, to be drawn. A plane that is seen alone has
// the edges in its slices: one that lies flat on a surface would be covered by it.
function selectLabels() {
  const kept = new Set(settings.structures.filter(({ name }) => shown[name]).map(({ value }) => value));
  const value = (index) => (kept.has(found[index]) ? found[index] : 0);
  const [columns, rows, planes] = [1, 2, 3].map((axis) => labels.dimsRAS[axis]);
  const strides = [1, columns, columns * rows];
  const across = PLANES[panes.dataset.layout]?.axis;
  const isInside = (index) => {
    const place = [index % columns, Math.floor(index / columns) % rows, Math.floor(index / strides[2])];
    return place.every((at, axis) => {
      if (axis === across) return true;
      if (at === 0 || at === [columns, rows, planes][axis] - 1) return false;
      return found[index - strides[axis]] === found[index] && found[index + strides[axis]] === found[index];
    });
  };
  for (let index = 0; index < found.length; index++) {
    if (found[index]) labels.img[index] = isOutlined && isInside(index) ? 0 : value(index);
  }
  setOpacity();
}

// Outlines are thin: they are drawn twice as dense.
function setOpacity() {
  const input = document.getElementById("opacity");
  input.nextElementSibling.value = input.value;
  labels.opacity = Math.min((input.value / 100) * (isOutlined ? 2 : 1), 1);
  soon(drawVolumes);
}

function switchStructure(name, isShown) {
  shown[name] = isShown;
  selectLabels();
  if (meshes[name]) {
    meshes[name].visible = isShown;
    soon(drawSolid);
  }
}

function ends() {
  return [range.level - range.width / 2, range.level + range.width / 2];
}

function setWindow(level, width) {
  const limits = (input, value) => Math.min(Math.max(Math.round(value), input.min), input.max);
  const inputs = { level: document.getElementById("level"), width: document.getElementById("width") };
  range = { level: limits(inputs.level, level), width: limits(inputs.width, width) };
  for (const [name, input] of Object.entries(inputs)) {
    input.value = range[name];
    input.nextElementSibling.value = range[name];
  }
  const [low, high] = ends();
  press("windows", (button) => button.dataset.window === `${low} ${high}`);
  [ct.cal_min, ct.cal_max] = [low, high];
  soon(drawVolumes);
}

const drawVolumes = () => slices.updateGLVolume();
const drawSlices = () => slices.drawScene();
const drawSolid = () => solid.drawScene();

function press(group, isPressed) {
  for (const button of document.querySelectorAll(`#${group} button`)) {
    button.setAttribute("aria-pressed", isPressed(button));
  }
}

function arrange(layout) {
  panes.dataset.layout = layout;
  press("layouts", (button) => button.dataset.layout === layout);
  if (isOutlined) selectLabels();
  fit();
}

function fit() {
  const whole = panes.getBoundingClientRect();
  slices.resizeListener();
  solid.resizeListener();
  const tiles = [];
  for (const [plane, { type }] of Object.entries(PLANES)) {
    const { left, top, width, height: tall } = byPlane[plane].getBoundingClientRect();
    if (!width) continue;
    const height = tall - byPlane[plane].querySelector("input").offsetHeight;
    const position = [(left - whole.left) / whole.width, (top - whole.top) / whole.height];
    tiles.push({ sliceType: type, position: [...position, width / whole.width, height / whole.height] });
  }
  if (tiles.length) slices.setCustomLayout(tiles);
  soon(drawSolid);
}

// ---------------------------------------------------------------------------------------------------------------------
// The crosshair

// Moves the crosshair to the voxel nearest to a place.
function moveTo(place) {
  settings.axes.forEach(({ first, step, count }, axis) => {
    const index = Math.min(Math.max(Math.round((place[axis] - first) / step), 0), count - 1);
    point[axis] = first + index * step;
  });
  slices.scene.crosshairPos = slices.mm2frac(point);
  if (solid.meshes.length) solid.scene.crosshairPos = solid.mm2frac(point);
  for (const [plane, { axis }] of Object.entries(PLANES)) {
    const { first, step, count } = settings.axes[axis];
    const where = byPlane[plane].querySelector(".place");
    const slider = byPlane[plane].querySelector("input");
    const index = Math.round((point[axis] - first) / step);
    where.textContent = `${index + 1} / ${count}`;
    slider.value = index;
    slider.setAttribute("aria-valuetext", `slice ${index + 1} of ${count}, ${side(axis)}`);
  }
  document.getElementById("reading").textContent = reading();
  soon(drawSlices);
  soon(drawSolid);
}

function side(axis) {
  const mm = point[axis];
  return `${LETTERS[axis][mm < 0 ? 0 : 1]} ${Math.abs(mm).toFixed(1)}`;
}

function reading() {
  const [x, y, z] = ct.mm2vox(point);
  const isInside = [x, y, z].every((index, axis) => index >= 0 && index < ct.dimsRAS[axis + 1]);
  const place = `${[0, 1, 2].map(side).join("  ")} mm`;
  if (!isInside) return `${place} · outside the CT`;
  const label = found[x + ct.dimsRAS[1] * (y + ct.dimsRAS[2] * z)];
  const name = settings.structures.find(({ value }) => value === label)?.name ?? "no label";
  const hu = Math.round(ct.getValue(x, y, z));
  const [low, high] = settings.limits;
  const bound = hu <= low ? "≤ " : hu >= high ? "≥ " : "";
  return `${place} · ${bound}${hu} HU · ${name}`;
}

function scroll(plane, count) {
  const { axis } = PLANES[plane];
  const place = [...point];
  place[axis] += count * settings.axes[axis].step;
  moveTo(place);
}

function pointAt(plane, event) {
  const { left, top } = slices.canvas.getBoundingClientRect();
  const dpr = slices.uiData.dpr || 1;
  const frac = slices.canvasPos2frac([(event.clientX - left) * dpr, (event.clientY - top) * dpr]);
  if (frac[0] < 0) return;
  const place = Array.from(slices.frac2mm(frac)).slice(0, 3);
  place[PLANES[plane].axis] = point[PLANES[plane].axis];
  moveTo(place);
}

function zoom(factor) {
  const [x, y, z, old] = slices.scene.pan2Dxyzmm;
  const now = Math.min(Math.max(old * factor, 1), 8);
  const shift = [x, y, z].map((mm, axis) => (now === 1 ? 0 : mm + (old - now) * point[axis]));
  slices.scene.pan2Dxyzmm = [...shift, now];
  soon(drawSlices);
}
