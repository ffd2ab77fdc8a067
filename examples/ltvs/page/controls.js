// Mouse, touch, keys and the controls of the page. The views are viewer.js's; they begin at the end.

const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: PAGE, PageDown: -PAGE };

function connectPlane(plane) {
  const pane = byPlane[plane];
  const slider = pane.querySelector("input");
  const { first, step, count } = settings.axes[PLANES[plane].axis];
  Object.assign(slider, { min: 0, max: count - 1, step: 1 });
  slider.addEventListener("input", () => {
    const place = [...point];
    place[PLANES[plane].axis] = first + slider.value * step;
    moveTo(place);
  });
  dragging(pane, {
    begin: (event, used) => used === "point" && pointAt(plane, event),
    move: (event, used, dx, dy) => {
      if (used === "point" && pane.contains(document.elementFromPoint(event.clientX, event.clientY))) pointAt(plane, event);
      if (used === "window") setWindow(range.level + dy * 2, range.width + dx * 4);
      if (used === "zoom") zoom(Math.exp(-dy / 150));
    },
  });
  wheeling(pane, (steps, event) => (event.ctrlKey ? zoom(1.1 ** -steps) : scroll(plane, -steps)));
  pane.addEventListener("keydown", (event) => {
    if (event.target !== pane) return;
    const ends = { Home: -count, End: count };
    const steps = KEYS[event.key] ?? ends[event.key];
    if (steps === undefined) return;
    event.preventDefault();
    scroll(plane, steps);
  });
}

function connectSolid() {
  const pane = byPlane.solid;
  const turn = (azimuth, elevation) => {
    const { renderAzimuth, renderElevation } = solid.scene;
    solid.scene.renderAzimuth = (renderAzimuth + azimuth + 360) % 360;
    solid.scene.renderElevation = Math.min(Math.max(renderElevation + elevation, -90), 90);
    soon(drawSolid);
  };
  const enlarge = (factor) => {
    solid.scene.volScaleMultiplier = Math.min(Math.max(solid.scene.volScaleMultiplier * factor, 0.5), 6);
    soon(drawSolid);
  };
  dragging(pane, { begin: () => {}, move: (event, used, dx, dy) => turn(dx / 2, dy / 2) });
  wheeling(pane, (steps) => enlarge(1.1 ** -steps));
  const turns = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
  const factors = { "+": 1.1, "-": 1 / 1.1 };
  pane.addEventListener("keydown", (event) => {
    if (event.target !== pane || !(event.key in turns || event.key in factors)) return;
    event.preventDefault();
    if (event.key in turns) turn(...turns[event.key]);
    else enlarge(factors[event.key]);
  });
  for (const button of document.querySelectorAll("#sides button")) {
    button.addEventListener("click", () => solid.setRenderAzimuthElevation(...button.dataset.side.split(" ").map(Number)));
  }
}

function dragging(pane, { begin, move }) {
  let last = null;
  pane.addEventListener("contextmenu", (event) => event.preventDefault());
  pane.addEventListener("pointerdown", (event) => {
    if (event.target.closest("input, button")) return;
    pane.setPointerCapture(event.pointerId);
    last = { id: event.pointerId, used: event.button === 2 ? "window" : tool, x: event.clientX, y: event.clientY };
    begin(event, last.used);
  });
  pane.addEventListener("pointermove", (event) => {
    if (last?.id !== event.pointerId) return;
    move(event, last.used, event.clientX - last.x, event.clientY - last.y);
    Object.assign(last, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"]) pane.addEventListener(end, () => (last = null));
}

function wheeling(pane, turn) {
  let sum = 0;
  const wheel = (event) => {
    event.preventDefault();
    // A mouse's wheel gives a hundred or so pixels at once, or lines: one step. Trackpads give a few at a time.
    sum += event.deltaMode || Math.abs(event.deltaY) >= WHEEL ? Math.sign(event.deltaY) * WHEEL : event.deltaY;
    const steps = Math.trunc(sum / WHEEL);
    sum -= steps * WHEEL;
    if (steps) turn(steps, event);
  };
  pane.addEventListener("wheel", wheel, { passive: false });
}

function connect() {
  Object.keys(PLANES).forEach(connectPlane);
  connectSolid();
  const listen = (selector, kind, act) => {
    for (const element of document.querySelectorAll(selector)) element.addEventListener(kind, () => act(element));
  };
  listen("#layouts button", "click", (button) => arrange(button.dataset.layout));
  listen("#tools button", "click", (button) => {
    tool = button.dataset.tool;
    press("tools", (other) => other === button);
  });
  listen("#windows button", "click", (button) => {
    const [low, high] = button.dataset.window.split(" ").map(Number);
    setWindow((low + high) / 2, high - low);
  });
  listen("#level", "input", (input) => setWindow(Number(input.value), range.width));
  listen("#width", "input", (input) => setWindow(range.level, Number(input.value)));
  listen("#structures input", "change", (input) => switchStructure(input.value, input.checked));
  listen("#opacity", "input", setOpacity);
  listen("#outlines", "change", (input) => {
    isOutlined = input.checked;
    selectLabels();
  });
  listen("[data-center]", "click", (button) => {
    moveTo(button.dataset.center.split(" ").map(Number));
    for (const row of document.querySelectorAll(".tumors tr")) row.removeAttribute("aria-current");
    button.closest("tr").setAttribute("aria-current", "true");
    if (PHONE.matches) panes.scrollIntoView({ block: "nearest" });
  });
  new ResizeObserver(() => soon(fit)).observe(panes);
}

start();
